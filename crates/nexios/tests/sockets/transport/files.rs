//! Static files: which are served, and what they hold.

use std::os::unix::fs::symlink;

use nexios::{App, StaticFiles, serve::Cause};

use super::Directory;
use crate::answer::Answer;
use crate::site::Site;
use crate::wire::{Wire, eventually};

fn ask(site: &Site, path: &str) -> Answer {
    let mut wire = site.dial();
    wire.say(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    wire.answer()
}

/// A page with files that hide, and links that lead about.
fn page(name: &str) -> Directory {
    let directory = Directory::new(name);
    directory.file("secret/index.html", "the secret");
    directory.file("secret/deep/er.txt", "the secret");
    directory.file("page/index.html", "the page");
    directory.file("page/.env", "the secret");
    directory.file("page/.git/config", "the secret");
    directory.file("page/sub/.hidden/x.txt", "the secret");
    directory.file("page/.well-known/security.txt", "a contact");
    directory.file("page/sub/a b.txt", "spaces");
    directory.file("page/..x/y.txt", "the secret");
    directory.file("page/linked/keep.txt", "kept");
    let at = |name: &str| directory.0.join(name);
    symlink(at("secret/index.html"), at("page/out.txt")).unwrap();
    symlink(at("secret"), at("page/out")).unwrap();
    symlink(at("secret/index.html"), at("page/linked/index.html")).unwrap();
    symlink(at("page/sub"), at("page/in")).unwrap();
    symlink(at("page/circle"), at("page/circle")).unwrap();
    symlink(at("page/nowhere"), at("page/dangling")).unwrap();
    directory
}

#[test]
fn files_that_hide_and_links_that_lead_out_are_404_unless_they_are_allowed() {
    let directory = page("hiding");
    let of = || StaticFiles::of(directory.0.join("page"));
    let open = of().hidden_files(true).follow_links(true);
    let site = Site::start(App::new().static_files("/files", of()).static_files("/open", open));
    for path in ["/.well-known/security.txt", "/sub/a%20b.txt", "/in/a%20b.txt", "/", "/index.html", "/linked/keep.txt"]
    {
        for prefix in ["/files", "/open"] {
            assert_eq!(ask(&site, &format!("{prefix}{path}")).status, 200, "{prefix}{path}");
        }
    }
    for path in [
        "/.env",
        "/%2eenv",
        "/./.env",
        "//.env",
        "/.git/config",
        "/.git/",
        "/sub/.hidden/x.txt",
        "/..x/y.txt",
        "/out.txt",
        "/out/",
        "/out/deep/er.txt",
        "/linked/",
    ] {
        let answer = ask(&site, &format!("/files{path}"));
        assert_eq!((answer.status, answer.body.contains("secret")), (404, false), "{path}");
    }
    for path in ["/.env", "/.git/config", "/out.txt", "/out/", "/linked/"] {
        assert_eq!(ask(&site, &format!("/open{path}")).body, "the secret", "{path}");
    }
    site.assert_others_served();
}

#[test]
fn what_cannot_be_looked_at_is_404_and_not_an_error_of_the_server() {
    let directory = page("errors");
    let app = App::new().static_files("/files", StaticFiles::of(directory.0.join("page")).follow_links(true));
    let site = Site::start(app.static_files("/none", directory.0.join("missing")));
    let (long, longer) = ("x".repeat(300), "x/".repeat(2100));
    for path in [
        "/files/circle",
        "/files/circle/",
        "/files/dangling",
        "/files/index.html/x",
        "/files/%00",
        "/files/%ff",
        "/none/x",
        &format!("/files/{long}"),
        &format!("/files/{longer}"),
    ] {
        assert_eq!(ask(&site, path).status, 404, "{}", &path[..path.len().min(40)]);
    }
}

#[test]
fn a_directory_without_its_slash_leads_to_itself_and_to_no_other_host() {
    let directory = page("redirects");
    directory.file("page/evil.example/index.html", "no host");
    let app = App::new().static_files("/files", directory.0.join("page"));
    let site = Site::start(app.static_files("/", directory.0.join("page")));
    for (path, location) in [
        ("/files/sub", "/files/sub/"),
        ("/files/sub?x=1", "/files/sub/?x=1"),
        ("/files//sub", "/files//sub/"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example", "/evil.example/"),
        ("http://h//evil.example", "/evil.example/"),
    ] {
        let answer = ask(&site, path);
        assert_eq!((answer.status, answer.header("location")), (307, Some(location)), "{path}");
    }
    let answer = ask(&site, "/%2fevil.example");
    assert!(answer.header("location").is_none_or(|location| !location.starts_with("//")), "{answer:?}");
}

#[test]
fn a_file_that_is_being_sent_takes_a_place_among_the_connections() {
    let directory = Directory::new("places");
    std::fs::write(directory.0.join("large.bin"), vec![7; 32 << 20]).unwrap();
    let app = App::new().static_files("/", &directory.0).server(|server| server.connections_max = Some(6));
    let site = Site::start(app);
    let start = || {
        let mut wire = Wire::dial_narrow(site.address());
        wire.say("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.read_more();
        let is_sent = wire.is_begun_with("HTTP/1.1 200 ");
        (wire, is_sent)
    };
    // The bystander has one place, and each reader two.
    let (first, second, third) = (start(), start(), start());
    assert_eq!([first.1, second.1, third.1], [true, true, false]);
    drop(third);
    site.await_connections(3);
    site.assert_causes(&[(Cause::ConnectionLimit, 1)]);
    drop(first);
    eventually("a place", || start().1);
    site.assert_others_served();
}
