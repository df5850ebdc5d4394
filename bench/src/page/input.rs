//! Reading results. They may come from anywhere, so what is wrong with one is said by file and field.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compare::figures_of;
use crate::page::error::PageError;
use crate::page::figures_file::FiguresFile;
use crate::result::compare::{COMPARE_FORMAT, Comparison};
use crate::result::figures::FIGURES_FORMAT;
use crate::result::run::{RUN_FORMAT, Run};

/// Bytes of a result at most. A long comparison has a few megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// All formats.
const FORMATS: [&str; 3] = [RUN_FORMAT, COMPARE_FORMAT, FIGURES_FORMAT];
/// What files from before there were formats name as their tool.
const TOOL: &str = "ringmain-bench";
/// Commands that write figures.
const COMMANDS: [&str; 3] = ["engine", "floors", "load"];

/// A result.
#[derive(Debug)]
pub(crate) struct Input {
    /// The file's name, to be shown.
    pub(crate) name: String,
    pub(crate) content: Content,
}

/// What a result holds.
#[derive(Debug)]
pub(crate) enum Content {
    Run(Box<Run>),
    Comparison(Box<Comparison>),
    Figures(Box<FiguresFile>),
}

impl Input {
    /// Reads a file, whichever command wrote it.
    ///
    /// # Errors
    /// It cannot be read, is too large, is of another tool or version, or a field is not as it should be.
    pub(crate) fn read(path: &Path) -> Result<Self, PageError> {
        let failed = |source| PageError::Read { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        // What has no size, such as a pipe, is bounded, too.
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            let (path, bytes) = (path.to_path_buf(), text.len() as u64);
            return Err(PageError::TooLarge { path, bytes, max: FILE_BYTES_MAX });
        }
        let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        Ok(Self { name: printable(&name), content: parse(&text, path)? })
    }
}

/// Without control characters, which neither HTML nor XML has a place for.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = printable(text),
        Value::Array(values) => values.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What a file of this path holds.
pub(super) fn parse(text: &str, path: &Path) -> Result<Content, PageError> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|source| PageError::Json { path: path.to_path_buf(), source })?;
    make_printable(&mut value);
    let other = |field, found: String, known: &[&str]| PageError::Format {
        path: path.to_path_buf(),
        field,
        found,
        known: known.join(" and "),
    };
    match value.get("format") {
        Some(Value::String(format)) if format == RUN_FORMAT => Ok(Content::Run(fields(value, path)?)),
        Some(Value::String(format)) if format == COMPARE_FORMAT => {
            let mut comparison: Box<Comparison> = fields(value, path)?;
            // From the turns, so that files of all versions have the figures that this one defines.
            for row in &mut comparison.rows {
                row.count_records_only();
                row.figures = figures_of(&row.rounds, &row.peer);
            }
            Ok(Content::Comparison(comparison))
        }
        Some(found) if found != FIGURES_FORMAT => Err(other("format", found.to_string(), &FORMATS)),
        None if value.get("tool").and_then(Value::as_str) != Some(TOOL) => {
            Err(other("format", "absent".into(), &FORMATS))
        }
        Some(_) | None => match value.get("command") {
            Some(Value::String(command)) if COMMANDS.contains(&command.as_str()) => {
                Ok(Content::Figures(fields(value, path)?))
            }
            Some(found) => Err(other("command", found.to_string(), &COMMANDS)),
            None => Err(other("command", "absent".into(), &COMMANDS)),
        },
    }
}

fn fields<T: DeserializeOwned>(value: Value, path: &Path) -> Result<Box<T>, PageError> {
    serde_path_to_error::deserialize(value).map(Box::new).map_err(|err| PageError::Field {
        path: path.to_path_buf(),
        field: err.path().to_string(),
        source: err.into_inner(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(value: &Value) -> String {
        parse(&value.to_string(), Path::new("some/result.json")).unwrap_err().to_string()
    }

    #[test]
    fn other_formats_are_refused_with_file_and_field() {
        for (value, field) in [
            (json!({"format": "ringmain-bench/run/2"}), "`format` is \"ringmain-bench/run/2\""),
            (json!({"format": 7}), "`format` is 7"),
            (json!({"hello": 1}), "`format` is absent"),
            (json!([]), "`format` is absent"),
            (json!({"tool": "ringmain-bench", "command": "bake"}), "`command` is \"bake\""),
            (json!({"tool": "ringmain-bench"}), "`command` is absent"),
            (json!({"format": "ringmain-bench/figures/2", "command": "engine"}), "figures/2"),
            (json!({"format": "ringmain-bench/figures/1", "command": "bake"}), "`command` is \"bake\""),
        ] {
            let said = refused(&value);
            assert!(said.contains(field) && said.contains("some/result.json"), "{said}");
        }
        let said = parse("{", Path::new("x.json")).unwrap_err();
        assert!(matches!(said, PageError::Json { .. }), "{said}");
    }

    #[test]
    fn a_wrong_field_is_named_however_deep() {
        let mut run = serde_json::to_value(crate::result::run::tests::sample()).unwrap();
        assert!(matches!(parse(&run.to_string(), Path::new("x")), Ok(Content::Run(_))));
        run["phases"][0]["latency"]["p50_us"] = json!("fast");
        let said = refused(&run);
        assert!(said.contains("phases[0].latency.p50_us") && said.contains("some/result.json"), "{said}");
        let mut comparison = serde_json::to_value(crate::result::compare::tests::sample()).unwrap();
        assert!(matches!(parse(&comparison.to_string(), Path::new("x")), Ok(Content::Comparison(_))));
        comparison["rows"][0].as_object_mut().unwrap().remove("peer");
        let said = refused(&comparison);
        assert!(said.contains("rows[0]") && said.contains("`peer`"), "{said}");
    }

    #[test]
    fn files_of_former_versions_are_read() {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let input = Input::read(&results.join("load-4-connections.json")).unwrap();
        assert_eq!(input.name, "load-4-connections.json");
        let Content::Figures(figures) = input.content else { panic!("{:?}", input.content) };
        assert_eq!((figures.command.as_str(), figures.summaries.len()), ("load", 5));
    }

    #[test]
    fn what_is_no_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Input::read(dir.path()), Err(PageError::Read { .. })));
        let large = dir.path().join("large.json");
        std::fs::File::create(&large).unwrap().set_len(FILE_BYTES_MAX + 10).unwrap();
        assert!(matches!(Input::read(&large), Err(PageError::TooLarge { .. })));
    }
}
