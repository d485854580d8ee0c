//! Owns the tasks that somebody asks for: each once, with what its loss counts.

use super::kind::TaskKind;
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
pub struct Tasks(Vec<TaskRequest>);

impl Tasks {
    /// One task for each of these label columns.
    ///
    /// # Errors
    /// There is none, or one is named twice.
    pub fn new(names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::new(Kind::Usage, "there is nothing to learn").expected("--task COLUMN"));
        }
        for (place, name) in names.iter().enumerate() {
            if names[..place].contains(name) {
                return Err(Error::new(Kind::Usage, "a task was given twice").found(format!("--task {name}")));
            }
        }
        let task = |name: &String| TaskRequest { name: name.clone(), kind: TaskKind::default(), share: 1.0 };
        Ok(Self(names.iter().map(task).collect()))
    }

    /// The same, with what some tasks' losses count: `TASK=NUMBER`.
    ///
    /// # Errors
    /// There is no such task, or no number of 0 or more.
    pub fn with_shares(mut self, shares: &[String]) -> Result<Self> {
        for text in shares {
            let share = text.split_once('=').and_then(|(name, number)| {
                let share = number.parse::<f32>().ok().filter(|share| share.is_finite() && *share >= 0.0)?;
                Some((self.0.iter_mut().find(|task| task.name == name)?, share))
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
        self.0.iter_mut().for_each(|task| task.share = 1.0);
        self
    }

    /// The label columns.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|task| task.name.clone()).collect()
    }

    /// The tasks, in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, TaskRequest> {
        self.0.iter()
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
