//! `tce policy inspect`.

use std::fs;

use crate::{
    author::{
        diff,
        inspect::{Inspection, inspect as look},
    },
    cli::{policy, print_json, print_text},
    exit::{Exit, Failure},
    policy::wit::SettingDescription,
};

use super::ComponentArgs;

pub(super) fn inspect(args: &ComponentArgs, json: bool) -> Result<Exit, Failure> {
    let policy = args.load(&policy::runtime(None)?)?;
    let file = args.file.as_path();
    let bytes = fs::read(file).map_err(|error| {
        Failure::new(Exit::PolicyFile, format!("policy {}: {error}", file.display()))
    })?;
    let inspection = look(&policy, &bytes).map_err(|broken| {
        let what = format!("policy {}: asked for its settings, {broken}", file.display());
        Failure::new(broken.fault().into(), what)
    })?;
    if json {
        print_json(&inspection)?
    } else {
        print_text(&text(&inspection))?
    }
    Ok(Exit::Done)
}

fn text(it: &Inspection) -> String {
    let list = |items: Vec<String>| {
        if items.is_empty() { "nothing".to_owned() } else { items.join("\n             ") }
    };
    let features: Vec<String> = it.features.iter().map(diff::word).collect();
    let sections: Vec<String> =
        it.custom_sections.iter().map(|(name, bytes)| format!("{name} ({bytes} bytes)")).collect();
    let mut out = format!(
        "{}\n  implements {}\n  imports    {}\n  size       {} bytes, {} of them code; memory at first {} KiB\n  \
         features   {}\n  custom     {}\n  sha256     {}\n",
        it.name,
        list(it.interfaces.iter().map(ToString::to_string).collect()),
        list(it.imports.clone()),
        it.bytes,
        it.code_bytes,
        it.memory_bytes >> 10,
        if features.is_empty() { "none".to_owned() } else { features.join(", ") },
        list(sections),
        it.sha256,
    );
    match it.settings.as_deref() {
        None | Some([]) => out.push_str("  settings   none\n"),
        Some(settings) => {
            out.push_str("  settings\n");
            settings.iter().for_each(|setting| out.push_str(&described(setting)));
        }
    }
    out
}

fn described(setting: &SettingDescription) -> String {
    let default = setting.default.as_deref().unwrap_or("not set");
    format!(
        "    {} = {}\n      {}; default: {default}\n",
        setting.key, setting.values, setting.meaning
    )
}
