//! Charts as SVG: bars for one workload, lines for growth.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::growth;
use crate::results::{Entry, Measured, Results};
use crate::statistics::Summary;
use crate::table;
use crate::workload::Growth;

const WIDTH: u32 = 860;
const TITLE_HEIGHT: i32 = 56;
const ROW_HEIGHT: i32 = 26;
/// Where the bars begin and where the longest ends; its figure stands behind it.
const BARS_FROM: i32 = 210;
const BARS_TO: i32 = 640;
/// A bar this many times as long as the shortest is cut, or the short ones could not be told apart.
const CUT_AT: f64 = 20.0;

const OURS: RGBColor = RGBColor(0x0b, 0x6e, 0x4f);
const THEIRS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const INK: RGBColor = RGBColor(0x22, 0x2b, 0x36);
const FAINT: RGBColor = RGBColor(0x66, 0x70, 0x7c);
const LINES: [RGBColor; 6] = [
    OURS,
    RGBColor(0xc2, 0x41, 0x0c),
    RGBColor(0x1d, 0x4e, 0xd8),
    RGBColor(0x7e, 0x22, 0xce),
    RGBColor(0xa1, 0x62, 0x07),
    RGBColor(0x47, 0x55, 0x69),
];

/// Bars for one workload, the cheapest first; false if there is no figure to draw.
pub(crate) fn of_workload(measured: &Measured, file: &Path) -> Result<bool> {
    let bars: Vec<(&Entry, Summary)> =
        table::by_figure(measured).into_iter().filter_map(|entry| Some((entry, measured.summary(entry)?))).collect();
    let Some(longest) = longest(&bars) else { return Ok(false) };
    let mut svg = String::new();
    {
        let height = TITLE_HEIGHT + ROW_HEIGHT * bars.len() as i32 + 12;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        title(&area, &measured.workload.to_string(), &measured.workload.description(), measured.workload.unit())?;
        for (row, (entry, summary)) in bars.iter().enumerate() {
            bar(&area, TITLE_HEIGHT + ROW_HEIGHT * row as i32, entry, *summary, longest)?;
        }
        area.present().map_err(drawing)?;
    }
    fs::write(file, svg)?;
    Ok(true)
}

/// The figure that fills the width.
fn longest(bars: &[(&Entry, Summary)]) -> Option<f64> {
    let max = bars.iter().map(|(_, summary)| summary.max).max_by(f64::total_cmp)?;
    let least = bars.iter().map(|(_, summary)| summary.median).min_by(f64::total_cmp)?;
    Some(max.min(CUT_AT * least).max(f64::MIN_POSITIVE))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn title(area: &Area<'_>, name: &str, description: &str, unit: &str) -> Result<()> {
    write(area, name, (12, 18), 17, INK, HPos::Left)?;
    write(area, &format!("{description} · {unit}, less is better"), (12, 40), 13, FAINT, HPos::Left)
}

fn bar(area: &Area<'_>, top: i32, entry: &Entry, summary: Summary, longest: f64) -> Result<()> {
    let middle = top + ROW_HEIGHT / 2;
    let at = |figure: f64| BARS_FROM + (f64::from(BARS_TO - BARS_FROM) * (figure / longest).clamp(0.0, 1.0)) as i32;
    let color = if entry.peer.starts_with("nexios") { OURS } else { THEIRS };
    write(area, &entry.peer, (BARS_FROM - 8, middle), 13, INK, HPos::Right)?;
    area.draw(&Rectangle::new([(BARS_FROM, top + 4), (at(summary.median), top + ROW_HEIGHT - 4)], color.filled()))
        .map_err(drawing)?;
    // From the best round to the worst.
    area.draw(&PathElement::new([(at(summary.min), middle), (at(summary.max), middle)], INK)).map_err(drawing)?;
    let cut = if summary.median > longest { "(cut) " } else { "" };
    let saturated = if entry.had_saturated_load() { " (load saturated)" } else { "" };
    let label = format!("{cut}{}{saturated}", table::number(summary.median));
    write(area, &label, (at(summary.max) + 8, middle), 13, INK, HPos::Left)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, color: RGBColor, side: HPos) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&color).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
}

/// A line for each server over the counts; false if no server has enough of them.
pub(crate) fn of_growth(results: &Results, growth: Growth, file: &Path) -> Result<bool> {
    let lines = growth::lines(results, growth);
    let figures = || lines.iter().flat_map(|(_, points)| points);
    let most = figures().map(|(_, summary)| summary.max).fold(0.0, f64::max);
    let counts = || figures().map(|(count, _)| *count as f64);
    if lines.is_empty() {
        return Ok(false);
    }
    let (from, to) = (counts().fold(f64::INFINITY, f64::min), counts().fold(0.0, f64::max));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 420)).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(growth.description(), ("sans-serif", 15).into_font().color(&INK))
            .margin(14)
            .x_label_area_size(32)
            .y_label_area_size(70)
            .build_cartesian_2d((from..to * 1.05).log_scale(), 0.0..most * 1.1)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .x_label_formatter(&|count| format!("{count:.0}"))
            .y_label_formatter(&|figure| table::number(*figure))
            .draw()
            .map_err(drawing)?;
        for (index, (peer, points)) in lines.iter().enumerate() {
            let color = LINES[index % LINES.len()];
            let line = points.iter().map(|(count, summary)| (*count as f64, summary.median));
            chart
                .draw_series(LineSeries::new(line, color.stroke_width(2)).point_size(3))
                .map_err(drawing)?
                .label(peer.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .label_font(("sans-serif", 13).into_font().color(&INK))
            .draw()
            .map_err(drawing)?;
        area.present().map_err(drawing)?;
    }
    fs::write(file, svg)?;
    Ok(true)
}

/// The library's errors borrow from the drawing.
fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a chart cannot be drawn: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{entry, measured};

    fn drawn(name: &str, draw: impl FnOnce(&Path) -> Result<bool>) -> Option<String> {
        let file = std::env::temp_dir().join(format!("bench-chart-{name}-{}.svg", std::process::id()));
        let svg = draw(&file).unwrap().then(|| fs::read_to_string(&file).unwrap());
        let _ = fs::remove_file(file);
        svg
    }

    #[test]
    fn each_server_has_its_bar_and_its_figure() {
        let entries =
            vec![entry("axum", "Rust", &[4321]), entry("nexios", "Rust", &[1234]), entry("x", "C", &[99_999])];
        let measured = measured("echo-20", entries);
        let svg = drawn("bars", |file| of_workload(&measured, file)).unwrap();
        for text in ["echo-20", "nexios", "1234", "axum", "4321", "(cut) 99999"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
    }

    #[test]
    fn growth_needs_three_counts() {
        let point = |name: &str| measured(name, vec![entry("nexios", "Rust", &[100])]);
        let results =
            |names: &[&str]| Results { sessions: Vec::new(), measured: names.iter().map(|name| point(name)).collect() };
        let chart = |names: &[&str]| drawn("growth", |file| of_growth(&results(names), Growth::Echo, file));
        assert!(chart(&["echo-20x10", "echo-20x100"]).is_none());
        assert!(chart(&["echo-20x10", "echo-20x100", "echo-20x1000"]).unwrap().contains("nexios"));
    }
}
