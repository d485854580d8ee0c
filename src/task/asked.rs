//! Owns the tasks that somebody asks for: each once, with what its loss counts.

use super::kind::TaskKind;
use crate::data::{KeptColumn, LabelSet, SEPARATOR, labels_in};
use crate::error::{Error, Kind, Result};

/// A task as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// The label column.
    pub name: String,
    pub kind: TaskKind,
    /// What its loss counts where layers are trained on several tasks.
    pub share: f32,
}

/// At least one task, each once.
#[derive(Debug, Clone, PartialEq)]
pub struct Tasks {
    tasks: Vec<TaskRequest>,
    /// What stands between the labels of a text, where a task is one of several.
    separator: String,
}

impl Tasks {
    /// One task of one label for each of these columns.
    ///
    /// # Errors
    /// There is none, or one is named twice.
    pub fn new(names: &[String]) -> Result<Self> {
        Self::of(&names.iter().map(|name| (name.clone(), TaskKind::OneOf)).collect::<Vec<_>>())
    }

    /// One task for each of these columns, of its kind.
    ///
    /// # Errors
    /// There is none, or a column is named twice.
    pub fn of(named: &[(String, TaskKind)]) -> Result<Self> {
        if named.is_empty() {
            return Err(Error::new(Kind::Usage, "there is nothing to learn")
                .expected("--task COLUMN, --any-of COLUMN or --number COLUMN"));
        }
        for (place, (name, kind)) in named.iter().enumerate() {
            let Some((_, other)) = named[..place].iter().find(|(other, _)| other == name) else { continue };
            let both = [*other, *kind].map(|kind| format!("{} {name}", option(kind)));
            return Err(Error::new(Kind::Usage, "a task was given twice")
                .found(both.join(" and "))
                .expected("each column once, as one kind of task"));
        }
        let task =
            |(name, kind): &(String, TaskKind)| TaskRequest { name: name.clone(), kind: *kind, share: 1.0 };
        Ok(Self { tasks: named.iter().map(task).collect(), separator: SEPARATOR.to_owned() })
    }

    /// The same with another text between the labels of a cell.
    ///
    /// # Errors
    /// It is empty.
    pub fn with_separator(self, separator: &str) -> Result<Self> {
        if separator.is_empty() {
            return Err(Error::new(Kind::Usage, "this cannot separate labels")
                .found(format!("--separator {separator:?}"))
                .expected("a text, like ';' or '|'"));
        }
        Ok(Self { separator: separator.to_owned(), ..self })
    }

    /// The same, with what some tasks' losses count: `TASK=NUMBER`.
    ///
    /// # Errors
    /// There is no such task, or no number of 0 or more.
    pub fn with_shares(mut self, shares: &[String]) -> Result<Self> {
        for text in shares {
            let share = text.split_once('=').and_then(|(name, number)| {
                let share = number.parse::<f32>().ok().filter(|share| share.is_finite() && *share >= 0.0)?;
                Some((self.tasks.iter_mut().find(|task| task.name == name)?, share))
            });
            let Some((task, share)) = share else {
                return Err(Error::new(Kind::Usage, "there is no such task weight")
                    .found(format!("--task-weight {text}"))
                    .expected(format!("TASK=NUMBER with a task of {}", self.names().join(", "))));
            };
            task.share = share;
        }
        Ok(self)
    }

    /// The same tasks, whose losses count alike.
    #[must_use]
    pub fn with_equal_shares(mut self) -> Self {
        self.tasks.iter_mut().for_each(|task| task.share = 1.0);
        self
    }

    /// The label columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.name.clone()).collect()
    }

    /// The tasks, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, TaskRequest> {
        self.tasks.iter()
    }

    /// The columns with how they are read.
    #[must_use]
    pub fn columns(&self) -> Vec<KeptColumn> {
        let column = |task: &TaskRequest| KeptColumn {
            name: task.name.clone(),
            form: task.kind.form(&self.separator),
        };
        self.tasks.iter().map(column).collect()
    }

    /// What stands between the labels of a text, if it is not the usual text and a task asks for it.
    #[must_use]
    pub fn separator(&self) -> Option<&str> {
        let unusual = self.separator != SEPARATOR && self.has(TaskKind::AnyOf);
        unusual.then_some(self.separator.as_str())
    }

    /// Whether a task is of this kind.
    #[must_use]
    pub fn has(&self, kind: TaskKind) -> bool {
        self.tasks.iter().any(|task| task.kind == kind)
    }
}

/// The labels that these cells of a task have; of a number, the name of the task.
#[must_use]
pub fn labels_of<'c>((task, kind): (&str, TaskKind), cells: impl Iterator<Item = &'c str>) -> LabelSet {
    match kind {
        TaskKind::OneOf => LabelSet::new(cells),
        TaskKind::AnyOf => {
            let labels: Vec<String> = cells.flat_map(labels_in).collect();
            LabelSet::new(labels.iter().map(String::as_str))
        }
        TaskKind::Number => LabelSet::new([task]),
    }
}

/// The option that asks for a task of a kind.
fn option(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::OneOf => "--task",
        TaskKind::AnyOf => "--any-of",
        TaskKind::Number => "--number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(names: &[&str]) -> Result<Tasks> {
        Tasks::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn tasks_are_given_once() {
        assert_eq!(tasks(&["b", "a"]).unwrap().names(), ["b", "a"]);
        assert!(tasks(&["b", "a", "b"]).unwrap_err().to_string().contains("--task b"));
        assert!(tasks(&[]).unwrap_err().to_string().contains("--task COLUMN"));
    }

    #[test]
    fn a_column_is_of_one_kind() {
        let both = [("a".to_owned(), TaskKind::AnyOf), ("a".to_owned(), TaskKind::Number)];
        let error = Tasks::of(&both).unwrap_err().to_string();
        assert!(error.contains("--any-of a and --number a"), "{error}");
        let tasks = Tasks::of(&both[..1]).unwrap();
        assert_eq!((tasks.separator(), tasks.has(TaskKind::Number)), (None, false));
        assert!(tasks.clone().with_separator("").is_err());
        assert_eq!(tasks.with_separator("|").unwrap().separator(), Some("|"));
    }

    #[test]
    fn shares_go_to_their_tasks() {
        let shares = |texts: &[&str]| {
            tasks(&["a", "b"])?.with_shares(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let found: Vec<f32> = shares(&["b=0.5"]).unwrap().iter().map(|task| task.share).collect();
        assert_eq!(found, [1.0, 0.5]);
        for wrong in ["c=1", "a", "a=-1", "a=inf", "a=x"] {
            let error = shares(&[wrong]).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("a, b"), "{error}");
        }
    }
}
