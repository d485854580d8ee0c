//! Owns what a task says of many texts, column by column: for whoever puts answers beside the rows of a
//! table.

use super::prediction::TaskPrediction;
use crate::data::{AnswerColumn, AnswerField, AnswerKind};
use crate::heads::Head;
use crate::task::TaskKind;

/// What a task says of texts.
pub struct TaskAnswers<'h> {
    head: &'h Head,
    /// Per text, the labels that are answered.
    labels: Vec<Vec<usize>>,
    /// Per text, the most probable label.
    likeliest: Vec<usize>,
    /// `[texts, classes]`: probabilities, or the number.
    numbers: Vec<f32>,
    /// Per text, between which numbers the truth lies; nothing where that is not known.
    bounds: Vec<[f32; 2]>,
}

impl Head {
    /// Whether its one label is left away where it is too improbable.
    #[must_use]
    pub fn abstains(&self) -> bool {
        self.kind == TaskKind::OneOf && !self.believed.thresholds.is_empty()
    }

    /// Whether it says between which numbers the truth lies.
    #[must_use]
    pub fn has_bounds(&self) -> bool {
        self.kind == TaskKind::Number && self.believed.interval.is_some()
    }

    /// Names of the labels that it answers; none of a number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        if self.kind.has_labels() { &self.labels } else { &[] }
    }

    /// The columns of its answers; with all, the probability of every label, too.
    #[must_use]
    pub fn answer_fields(&self, all: bool) -> Vec<AnswerField> {
        let field = |what: &str, kind| AnswerField::new(format!("{}_{what}", self.task), kind);
        let mut fields = match self.kind {
            TaskKind::Number => {
                let ends = ["low", "high"].map(|end| field(end, AnswerKind::Number));
                let ends = ends.into_iter().filter(|_| self.has_bounds());
                return std::iter::once(field("predicted", AnswerKind::Number)).chain(ends).collect();
            }
            TaskKind::OneOf => vec![
                AnswerField { optional: self.abstains(), ..field("predicted", AnswerKind::Text) },
                field("probability", AnswerKind::Number),
            ],
            TaskKind::AnyOf => {
                vec![field("predicted", AnswerKind::Texts), field("probability", AnswerKind::Numbers)]
            }
        };
        if self.abstains() {
            fields.push(field("uncertain", AnswerKind::Truth));
        }
        let each = |label: &String| field(&format!("probability_{label}"), AnswerKind::Number);
        fields.extend(self.names().iter().filter(|_| all).map(each));
        fields
    }
}

impl<'h> TaskAnswers<'h> {
    /// Before anything was said of so many texts.
    #[must_use]
    pub fn none(head: &'h Head, texts: usize) -> Self {
        Self {
            head,
            labels: vec![Vec::new(); texts],
            likeliest: vec![0; texts],
            numbers: vec![0.0; texts * head.labels.len()],
            bounds: if head.has_bounds() { vec![[0.0; 2]; texts] } else { Vec::new() },
        }
    }

    /// What is said of a text.
    pub fn put(&mut self, text: usize, prediction: TaskPrediction) {
        let width = self.head.labels.len();
        self.numbers[text * width..][..width].copy_from_slice(&prediction.probabilities);
        self.likeliest[text] = prediction.label;
        self.labels[text] = prediction.labels;
        if let (Some(bounds), Some(found)) = (self.bounds.get_mut(text), prediction.interval) {
            *bounds = found;
        }
    }

    /// The head that says it.
    #[must_use]
    pub fn head(&self) -> &'h Head {
        self.head
    }

    /// Per text, the labels that are answered: the most probable first.
    #[must_use]
    pub fn labels(&self) -> &[Vec<usize>] {
        &self.labels
    }

    /// Per text, the most probable label.
    #[must_use]
    pub fn likeliest(&self) -> &[usize] {
        &self.likeliest
    }

    /// `[texts, classes]`: probabilities, or the number.
    #[must_use]
    pub fn into_numbers(self) -> Vec<f32> {
        self.numbers
    }

    /// What was said of each text.
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.head.labels.len().max(1))
    }

    /// The columns of [`Head::answer_fields`].
    #[must_use]
    pub fn columns(&self, all: bool) -> Vec<AnswerColumn<'h>> {
        let names = self.head.names();
        let rows = || self.rows().zip(&self.labels);
        let mut columns = match self.head.kind {
            TaskKind::Number => {
                let end = |end: usize| self.bounds.iter().map(|bounds| bounds[end]).collect();
                let ends = [0, 1].into_iter().filter(|_| self.head.has_bounds());
                let ends = ends.map(|place| AnswerColumn::Numbers(end(place)));
                return std::iter::once(AnswerColumn::Numbers(self.numbers.clone())).chain(ends).collect();
            }
            TaskKind::OneOf => {
                let name = |labels: &Vec<usize>| labels.first().map(|label| names[*label].as_str());
                let likeliest = self.rows().zip(&self.likeliest).map(|(row, label)| row[*label]);
                vec![
                    AnswerColumn::Texts(self.labels.iter().map(name).collect()),
                    AnswerColumn::Numbers(likeliest.collect()),
                ]
            }
            TaskKind::AnyOf => {
                let named = |labels: &Vec<usize>| labels.iter().map(|label| names[*label].as_str()).collect();
                let sure =
                    |(row, labels): (&[f32], &Vec<usize>)| labels.iter().map(|label| row[*label]).collect();
                vec![
                    AnswerColumn::TextLists(self.labels.iter().map(named).collect()),
                    AnswerColumn::NumberLists(rows().map(sure).collect()),
                ]
            }
        };
        if self.head.abstains() {
            columns.push(AnswerColumn::Truths(self.labels.iter().map(Vec::is_empty).collect()));
        }
        let each = |label: usize| AnswerColumn::Numbers(self.rows().map(|row| row[label]).collect());
        columns.extend((0..names.len()).filter(|_| all).map(each));
        columns
    }
}
