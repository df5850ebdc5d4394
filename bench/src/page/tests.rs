//! The page as a browser takes it, by parsers that are not ours.

use scraper::{Html, Selector};

use super::*;
use crate::page::document::Document;
use crate::page::draw::{Theme, svg};
use crate::result::compare::Comparison;
use crate::result::run::Run;

/// Text that would do something if it were not escaped, with a character that XML has no place for.
const EVIL: &str = "</style><script>alert(1)</script>\"'&\u{1}";

fn sample_run() -> Run {
    crate::result::run::tests::sample()
}

fn sample_comparison() -> Comparison {
    crate::result::compare::tests::sample()
}

fn input(name: &str, content: Content) -> Input {
    Input { name: name.into(), content }
}

fn page(inputs: &[Input]) -> (Document, Html) {
    let mut document = document(inputs, None);
    document.name_plots();
    let html = html::render(&document).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>"));
    let parsed = Html::parse_document(&html);
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    (document, parsed)
}

fn count(html: &Html, selector: &str) -> usize {
    html.select(&Selector::parse(selector).unwrap()).count()
}

/// Each text that a result can bring, made evil: all texts of its JSON but those that choose among a few.
fn made_evil(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = format!("{text}{EVIL}"),
        serde_json::Value::Array(values) => values.iter_mut().for_each(made_evil),
        serde_json::Value::Object(fields) => {
            let chosen = ["format", "kind", "durability", "acks", "compression", "from", "what"];
            let free = fields.iter_mut().filter(|(name, _)| !chosen.contains(&name.as_str()));
            free.for_each(|(_, value)| made_evil(value));
        }
        _ => {}
    }
}

#[test]
fn a_page_has_its_parts_and_every_plot() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let inputs = [
        input("compare.json", Content::Comparison(Box::new(sample_comparison()))),
        input("run.json", Content::Run(Box::new(sample_run()))),
        Input::read(&results.join("load-4-connections.json")).unwrap(),
    ];
    let (document, html) = page(&inputs);
    let headings: Vec<&str> = document.sections.iter().map(|section| section.heading.as_str()).collect();
    assert_eq!(
        headings,
        [
            "Comparison, from compare.json",
            "sample, page cache",
            "Starting, idling, recovering",
            "Peers by tools of their own",
            "Who took part",
            "What was not run",
            "Load, from load-4-connections.json",
            "sample, page cache",
        ]
    );
    assert_eq!(count(&html, "main > section > h2"), headings.len());
    assert_eq!(count(&html, "nav a"), headings.len());
    let ids: Vec<&str> = document.plots().map(|plot| plot.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "sample-end-to-end-latency",
            "start-up",
            "recovery",
            "idle-memory",
            "load-throughput",
            "sample-end-to-end-latency-2",
            "sample-end-to-end-latency-over-time",
        ]
    );
    for id in ids {
        assert_eq!(count(&html, &format!("figure#plot-{id} svg")), 1, "{id}");
    }
    // All that a result says of the surroundings.
    let text: String = html.root_element().text().collect();
    for told in ["4.3.1", "a=b", "some 1", "no server", "java ...", "2023-11-14 22:13 UTC", "127.0.0.1:9092"]
    {
        assert!(text.contains(told), "{told}");
    }
}

#[test]
fn nothing_is_loaded_or_run() {
    let (_, html) = page(&[input("run.json", Content::Run(Box::new(sample_run())))]);
    for active in ["script", "link", "iframe", "object", "embed", "img", "[src]", "[onload]", "base", "form"]
    {
        assert_eq!(count(&html, active), 0, "{active}");
    }
    let policy = Selector::parse("meta[http-equiv=Content-Security-Policy]").unwrap();
    let policy = html.select(&policy).next().unwrap().attr("content").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}

#[test]
fn what_results_say_is_text_and_never_more() {
    let mut run = serde_json::to_value(sample_run()).unwrap();
    made_evil(&mut run);
    let mut comparison = serde_json::to_value(sample_comparison()).unwrap();
    made_evil(&mut comparison);
    let inputs = [
        input("<script>", crate::page::input::parse(&run.to_string(), Path::new("x")).unwrap()),
        input("\"><script>", crate::page::input::parse(&comparison.to_string(), Path::new("x")).unwrap()),
    ];
    let plain = input("x", Content::Run(Box::new(sample_run())));
    let compared = changes(&[plain], &inputs);
    let mut document = document(&inputs, Some(&compared));
    document.name_plots();
    let html = html::render(&document).unwrap();
    let parsed = Html::parse_document(&html);
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    assert_eq!(count(&parsed, "script"), 0);
    assert_eq!(count(&parsed, "style"), 1);
    let text: String = parsed.root_element().text().collect();
    assert!(text.matches("<script>alert(1)</script>").count() > 10, "it is shown as it is");
    for plot in document.plots() {
        for theme in [Theme::LIGHT, Theme::DARK] {
            let svg = svg(plot, &theme).unwrap();
            let parsed = roxmltree::Document::parse(&svg).unwrap();
            assert!(parsed.descendants().all(|node| node.tag_name().name() != "script"), "{}", plot.id);
        }
    }
}

#[test]
fn pictures_come_in_two_themes_and_stay_in_their_directory() {
    let mut run = sample_run();
    run.workload.name = "../../x".into();
    let (document, _) = page(&[input("run.json", Content::Run(Box::new(run)))]);
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("deep").join("pictures");
    let snippets = pictures::write(&inside, &document).unwrap();
    let names: Vec<String> = std::fs::read_dir(&inside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".svg"))
        .collect();
    assert_eq!(names.len(), 2 * document.plots().count());
    assert!(names.len() >= 4);
    let snippets = Html::parse_fragment(&std::fs::read_to_string(snippets).unwrap());
    assert!(snippets.errors.is_empty(), "{:?}", snippets.errors);
    let dark = Selector::parse("picture source[media='(prefers-color-scheme: dark)']").unwrap();
    for source in snippets.select(&dark) {
        assert!(names.contains(&source.attr("srcset").unwrap().to_owned()));
    }
    for img in snippets.select(&Selector::parse("picture img").unwrap()) {
        assert!(names.contains(&img.attr("src").unwrap().to_owned()));
        assert!(!img.attr("alt").unwrap().is_empty());
    }
    // The themes differ in nothing but colours.
    let plot = document.plots().next().unwrap();
    let uncoloured = |theme: &Theme| {
        let svg = svg(plot, theme).unwrap();
        svg.split('#').map(|part| part.get(6..).unwrap_or(part).to_owned()).collect::<Vec<_>>()[1..].concat()
    };
    assert_eq!(uncoloured(&Theme::LIGHT), uncoloured(&Theme::DARK));
}

#[test]
fn what_the_generator_does_alone_is_told_beside_the_rate() {
    let mut run = sample_run();
    run.phases[0].kind = crate::result::run::PhaseKind::Produce;
    run.phases[0].records_per_s = 8e5;
    let text = |run: &Run| -> String {
        let (_, html) = page(&[input("run.json", Content::Run(Box::new(run.clone())))]);
        html.root_element().text().collect()
    };
    assert!(text(&run).contains("1M records/s, 1000 MB/s: 1.25× the highest rate"), "{}", text(&run));
    run.self_check = None;
    assert!(text(&run).contains("not measured (--self-check does)"));
}

#[test]
fn why_the_client_of_a_comparison_was_the_limit_is_told_once_a_side() {
    let mut comparison = sample_comparison();
    for turn in comparison.rows[0].rounds.iter_mut().flat_map(|round| &mut round.turns) {
        turn.phases[0].client_limited = turn.side == "ringmain";
        turn.phases[0].client_limited_why = "less than twice as much".into();
    }
    let (_, html) = page(&[input("compare.json", Content::Comparison(Box::new(comparison)))]);
    let lines: Vec<String> = html
        .select(&Selector::parse("p.warning + ul li").unwrap())
        .map(|line| line.text().collect())
        .collect();
    assert_eq!(lines, ["sample, page cache, ringmain beside kafka, end to end: less than twice as much"]);
}

#[test]
fn lost_records_and_a_client_that_was_the_limit_are_warned_of() {
    let mut comparison = sample_comparison();
    comparison.lives[0].recoveries[0].found_records -= 1;
    let mut run = sample_run();
    run.phases[0].client_limited = true;
    run.phases[0].client_limited_why = "twice the rate was not reached alone".into();
    let (_, html) = page(&[
        input("compare.json", Content::Comparison(Box::new(comparison))),
        input("run.json", Content::Run(Box::new(run))),
    ]);
    let warnings: Vec<String> =
        html.select(&Selector::parse("p.warning").unwrap()).map(|warning| warning.text().collect()).collect();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[0].contains("ringmain lost records"), "{warnings:?}");
    assert!(warnings[1].contains("cannot be compared"), "{warnings:?}");
    assert!(warnings[2].contains("twice the rate"), "{warnings:?}");
}
