//! The columns of the pod's table of events, which has had two forms.
//!
//! | event | today | older (`events_timescale`) |
//! | --- | --- | --- |
//! | `type` | `type` | `event_type` |
//! | `subjectId` | `subject_id`, text | `aggregate_id`, uuid |
//! | `subjectType` | `subject_type` | `aggregate_type`, of a few kinds only |
//! | `version` | in `metadata` | `version`, an integer: 1 |
//!
//! Whoever reads or writes events asks here and nowhere else. A subject type that the older
//! table's constraint does not know is stored as `entity`, and by its own name in
//! `metadata.subjectType`; [`Layout::relation`] puts it back.

use std::sync::Arc;

/// What subjects become whose type the older table does not know.
const ENTITY: &str = "entity";

/// How an event becomes a row, and a row an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The names of the columns.
    pub form: Form,
    /// How the subject's id is stored.
    pub subject_id: SubjectId,
    /// The only subject types that the table takes, if it is particular about them.
    pub subject_types: Option<Arc<[String]>>,
    /// Whether rows have a `correlation_id`: where the table has the column. Only commands' events have one.
    pub correlated: bool,
}

/// The form of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The pod's table of today.
    #[default]
    Subjects,
    /// The pod's older table.
    Aggregates,
}

/// The type of the column of subjects' ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectId {
    /// `text`.
    #[default]
    Text,
    /// `uuid`.
    Uuid,
}

impl Form {
    /// Columns of a row, in the order in which rows are encoded.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Subjects => {
                &["id", "timestamp", "type", "subject_id", "subject_type", "data", "metadata", "source", "user_id"]
            }
            Self::Aggregates => &[
                "id",
                "timestamp",
                "event_type",
                "aggregate_id",
                "aggregate_type",
                "data",
                "metadata",
                "source",
                "user_id",
                "version",
            ],
        }
    }

    /// The column of subjects' ids.
    pub const fn subject_id(self) -> &'static str {
        match self {
            Self::Subjects => "subject_id",
            Self::Aggregates => "aggregate_id",
        }
    }

    /// The column of subjects' types.
    pub const fn subject_type(self) -> &'static str {
        match self {
            Self::Subjects => "subject_type",
            Self::Aggregates => "aggregate_type",
        }
    }
}

impl Layout {
    /// Columns of a row as SQL lists them.
    pub fn column_list(&self) -> String {
        let columns = self.form.columns().join(", ");
        if self.correlated { columns + ", correlation_id" } else { columns }
    }

    /// What stands behind `from` where events are read: `events`, with the columns of today.
    /// Their indexes serve as if they were the table's own.
    pub fn relation(&self, table: &str) -> String {
        match self.form {
            Form::Subjects => format!("{table} as events"),
            Form::Aggregates => format!(
                "(select id, timestamp, event_type as type, aggregate_id as subject_id,
                  coalesce(metadata->>'subjectType', aggregate_type) as subject_type, data,
                  metadata - 'subjectType' as metadata, source, correlation_id, user_id from {table}) as events"
            ),
        }
    }

    /// The subject type as it is stored, and whether its own name goes into the metadata.
    pub fn subject_type<'a>(&self, subject_type: &'a str) -> (&'a str, bool) {
        let is_unknown = |known: &Arc<[String]>| !known.iter().any(|known| known == subject_type);
        if self.subject_types.as_ref().is_some_and(is_unknown) { (ENTITY, true) } else { (subject_type, false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_table_that_is_particular_gets_another_subject_type() {
        let mut layout = Layout::default();
        assert_eq!(layout.subject_type("device"), ("device", false));
        layout.subject_types = Some(["entity".to_owned(), "user".to_owned()].into());
        assert_eq!(layout.subject_type("device"), ("entity", true));
        assert_eq!(layout.subject_type("user"), ("user", false));
    }
}
