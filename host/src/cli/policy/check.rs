//! `tce policy check`.

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{print_json, print_text},
    exit::{Exit, Failure},
    policy::Exported,
};

use super::load::{ComponentArgs, runtime, trusted};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    component: ComponentArgs,
    /// Report as one JSON document (docs/report.md describes it).
    #[arg(long)]
    json: bool,
    /// Require a signature of minisign of this key, in FILE.wasm.minisig: the key or its file. May be repeated.
    #[arg(long = "policy-key", value_name = "KEY")]
    keys: Vec<String>,
}

/// The version of the document.
const FORMAT: &str = "tce-policy-check/1";

/// What `tce policy check` says of a good policy. `docs/report.md` describes its JSON.
#[derive(Serialize)]
struct Checked<'a> {
    format: &'static str,
    file: String,
    name: &'a str,
    bytes: u64,
    sha256: String,
    interfaces: &'a [Exported],
    imports: [&'static str; 0],
    /// The key whose signature it has; none if no signature was required.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
}

pub(in crate::cli) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let (policy, signed_by) = args.component.load_signed(&runtime(None)?, &trusted(&args.keys)?)?;
    let checked = Checked {
        format: FORMAT,
        file: args.component.file.display().to_string(),
        name: policy.name(),
        bytes: policy.size(),
        sha256: policy.digest().to_string(),
        interfaces: policy.interfaces(),
        imports: [],
        signed_by,
    };
    if args.json {
        print_json(&checked)?;
    } else {
        print_text(&text(&checked))?;
    }
    Ok(Exit::Done)
}

fn text(checked: &Checked<'_>) -> String {
    let interfaces: Vec<String> = checked.interfaces.iter().map(ToString::to_string).collect();
    let signed =
        checked.signed_by.as_ref().map_or_else(String::new, |key| format!("  signed by  {key}\n"));
    format!(
        "{} is a policy that this host can use\n  implements {}\n  imports    nothing\n  size       {} bytes\n  sha256     {}\n{signed}",
        checked.file,
        interfaces.join("\n             "),
        checked.bytes,
        checked.sha256,
    )
}
