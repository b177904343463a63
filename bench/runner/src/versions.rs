//! What each server consists of, from lock files and environments.

use std::fs;
use std::path::Path;

use crate::peers::Peer;

/// Packages that say nothing about a server.
const UNTELLING: [&str; 6] = ["anyhow", "clap", "rustix", "pip", "setuptools", "wheel"];

/// Names and versions of what the server is made of; empty if nothing tells.
pub(crate) fn of(peer: &Peer, folder: &Path) -> String {
    if let Some(version) = &peer.version {
        return version.clone();
    }
    let (build, run) = peer.lines();
    let words = || build.into_iter().chain([run]).flat_map(str::split_whitespace);
    if let Some(package) = words().skip_while(|word| *word != "-p").nth(1) {
        return of_crate(&fs::read_to_string(folder.join("Cargo.lock")).unwrap_or_default(), package);
    }
    if let Some(folder_of_package) = words().skip_while(|word| *word != "--prefix").nth(1) {
        return of_package(
            &fs::read_to_string(folder.join(folder_of_package).join("package.json")).unwrap_or_default(),
        );
    }
    let environment = words().find_map(|word| {
        word.strip_suffix("/bin/python").or_else(|| word.split_once("/bin/").map(|(folder, _)| folder))
    });
    environment.map_or_else(String::new, |environment| of_environment(&folder.join(environment)))
}

/// The direct dependencies of one crate of the workspace.
fn of_crate(lock: &str, package: &str) -> String {
    let Ok(table) = lock.parse::<toml::Table>() else { return String::new() };
    let packages: Vec<&toml::Value> =
        table.get("package").and_then(toml::Value::as_array).into_iter().flatten().collect();
    let named = |name: &str| packages.iter().find(|entry| text(entry, "name") == name);
    let dependencies = named(package).and_then(|entry| entry.get("dependencies")?.as_array());
    let versions = dependencies.into_iter().flatten().filter_map(|dependency| {
        // With two versions in the lock file the dependency names its own.
        let mut words = dependency.as_str()?.split(' ');
        let name = words.next()?;
        let version = words.next().or_else(|| named(name).map(|entry| text(entry, "version")))?;
        Some((name.to_owned(), version.to_owned()))
    });
    list(versions)
}

fn text<'a>(entry: &'a toml::Value, key: &str) -> &'a str {
    entry.get(key).and_then(toml::Value::as_str).unwrap_or_default()
}

/// The direct dependencies of a package of npm, which names them exactly.
fn of_package(manifest: &str) -> String {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap_or_default();
    let dependencies = manifest["dependencies"].as_object().into_iter().flatten();
    list(dependencies.filter_map(|(name, version)| Some((name.clone(), version.as_str()?.to_owned()))))
}

/// The packages that are installed in a Python environment.
fn of_environment(environment: &Path) -> String {
    let libraries = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten();
    let packages =
        libraries.filter_map(|python| fs::read_dir(python.path().join("site-packages")).ok()).flatten().flatten();
    list(packages.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let (name, version) = name.strip_suffix(".dist-info")?.split_once('-')?;
        Some((name.to_owned(), version.to_owned()))
    }))
}

fn list(versions: impl Iterator<Item = (String, String)>) -> String {
    let mut versions: Vec<String> = versions
        .filter(|(name, _)| !UNTELLING.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    versions.sort();
    versions.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_tells_its_direct_dependencies() {
        let lock = r#"
            [[package]]
            name = "peer-x"
            version = "0.1.0"
            dependencies = ["anyhow", "tokio", "x 2.0.0"]
            [[package]]
            name = "tokio"
            version = "1.54.0"
            [[package]]
            name = "x"
            version = "1.0.0"
        "#;
        assert_eq!(of_crate(lock, "peer-x"), "tokio 1.54.0, x 2.0.0");
        assert_eq!(of_crate(lock, "peer-y"), "");
    }

    #[test]
    fn a_package_of_npm_tells_its_dependencies() {
        assert_eq!(
            of_package("{\"dependencies\": {\"ws\": \"8.23.0\", \"bufferutil\": \"4.1.0\"}}"),
            "bufferutil 4.1.0, ws 8.23.0"
        );
        assert_eq!(of_package(""), "");
    }

    #[test]
    fn an_environment_tells_what_is_installed() {
        let folder = std::env::temp_dir().join(format!("bench-versions-{}", std::process::id()));
        let packages = folder.join("lib/python3.11/site-packages");
        for name in ["uvicorn-0.38.0.dist-info", "pip-25.0.dist-info", "uvicorn"] {
            fs::create_dir_all(packages.join(name)).unwrap();
        }
        assert_eq!(of_environment(&folder), "uvicorn 0.38.0");
        fs::remove_dir_all(folder).unwrap();
    }
}
