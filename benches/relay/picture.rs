//! The figures as a picture for the docs: bars of Pointsman against nginx, whose bar is 1 in each group.

use std::fmt::Write as _;

use crate::figures::{CaseFigures, Figures, OfTarget, Round, Spread, cpu};
use crate::rounds::Sample;

const WIDTH: f64 = 900.0;
/// Where bars begin, and how long the longest is; behind it stands its figure.
const LEFT: f64 = 290.0;
const LONGEST: f64 = 400.0;
const BAR: f64 = 13.0;
const BETWEEN_GROUPS: f64 = 11.0;
const HEAD: f64 = 40.0;

const DIRECT: Look = Look {
    name: "direct",
    colour: "#d0d7de",
};
const NGINX: Look = Look {
    name: "nginx",
    colour: "#8c959f",
};
const POINTSMAN: Look = Look {
    name: "pointsman",
    colour: "#1f6feb",
};

#[derive(Clone, Copy)]
struct Look {
    name: &'static str,
    colour: &'static str,
}

/// Bars that are compared with each other.
struct Group {
    title: &'static str,
    bars: Vec<Bar>,
}

struct Bar {
    look: Look,
    /// In parts of nginx's.
    length: Spread,
    label: String,
}

struct Panel {
    title: &'static str,
    groups: Vec<Group>,
}

impl Panel {
    fn height(&self) -> f64 {
        let group = |group: &Group| group.bars.len() as f64 * BAR + BETWEEN_GROUPS;
        HEAD + self.groups.iter().map(group).sum::<f64>()
    }
}

/// An SVG of its own.
pub fn draw(figures: &Figures) -> String {
    let plain = figures
        .cases
        .iter()
        .filter(|case| case.case.name.starts_with("plain"));
    let panels = [
        Panel {
            title: "CPU time of a request or stream (nginx = 1)",
            groups: figures.cases.iter().map(cpu_group).collect(),
        },
        Panel {
            title: "Median latency of a request, upstream included (nginx = 1)",
            groups: plain.map(latency_group).collect(),
        },
    ];
    let height = panels.iter().map(Panel::height).sum::<f64>() + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#1f2328\">\n\
         <title>Pointsman beside nginx</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut top = 10.0;
    for panel in &panels {
        put_panel(&mut svg, panel, top);
        top += panel.height();
    }
    put_legend(&mut svg, top + 12.0);
    svg.push_str("</svg>\n");
    svg
}

fn cpu_group(case: &CaseFigures) -> Group {
    let of_nginx = |round: &Round| cpu(&round.nginx);
    let bar = |look, of: OfTarget| Bar {
        look,
        length: case.spread(|round| cpu(of(round)) / of_nginx(round)),
        label: in_time(case.spread(|round| cpu(of(round))).median),
    };
    group(
        case,
        vec![
            bar(NGINX, |round| &round.nginx),
            bar(POINTSMAN, |round| &round.pointsman),
        ],
    )
}

fn latency_group(case: &CaseFigures) -> Group {
    let p50 = |sample: &Sample| sample.whole_us.p50;
    let bar = |look, of: OfTarget| Bar {
        look,
        length: case.spread(|round| p50(of(round)) / p50(&round.nginx)),
        label: in_time(case.spread(|round| p50(of(round))).median),
    };
    let bars = vec![
        bar(DIRECT, |round| &round.direct),
        bar(NGINX, |round| &round.nginx),
        bar(POINTSMAN, |round| &round.pointsman),
    ];
    group(case, bars)
}

/// Pointsman's bar tells its ratio too.
fn group(case: &CaseFigures, mut bars: Vec<Bar>) -> Group {
    if let Some(last) = bars.last_mut() {
        let _ = write!(last.label, ", {:.2}×", last.length.median);
    }
    Group {
        title: case.case.title,
        bars,
    }
}

fn in_time(us: f64) -> String {
    match us {
        us if us >= 10_000.0 => format!("{:.0} ms", us / 1e3),
        us if us >= 1000.0 => format!("{:.1} ms", us / 1e3),
        us if us >= 100.0 => format!("{us:.0} µs"),
        us => format!("{us:.1} µs"),
    }
}

fn put_panel(svg: &mut String, panel: &Panel, top: f64) {
    let most = panel
        .groups
        .iter()
        .flat_map(|group| &group.bars)
        .map(|bar| bar.length.most)
        .fold(1.0, f64::max);
    let scale = LONGEST / most;
    put(
        svg,
        format_args!(
            "<text x=\"16\" y=\"{:.1}\" font-size=\"14\" font-weight=\"600\">{}</text>",
            top + 20.0,
            panel.title
        ),
    );
    let mut y = top + HEAD - 6.0;
    let begun = y;
    for group in &panel.groups {
        let middle = y + group.bars.len() as f64 * BAR / 2.0 + 4.0;
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 10.0,
                group.title
            ),
        );
        for bar in &group.bars {
            put_bar(svg, bar, y, scale);
            y += BAR;
        }
        y += BETWEEN_GROUPS;
    }
    let one = LEFT + scale;
    put(
        svg,
        format_args!(
            "<line x1=\"{one:.1}\" y1=\"{begun:.1}\" x2=\"{one:.1}\" y2=\"{:.1}\" stroke=\"#57606a\" \
             stroke-dasharray=\"2 3\"/>",
            y - BETWEEN_GROUPS
        ),
    );
}

fn put_bar(svg: &mut String, bar: &Bar, y: f64, scale: f64) {
    let length = bar.length.median * scale;
    let (least, most) = (LEFT + bar.length.least * scale, LEFT + bar.length.most * scale);
    let (thick, middle) = (BAR - 2.0, y + (BAR - 2.0) / 2.0);
    put(
        svg,
        format_args!(
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{thick}\" fill=\"{}\"/>",
            bar.look.colour
        ),
    );
    if most > least {
        put(
            svg,
            format_args!(
                "<path d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {:.1}v6M{most:.1} {:.1}v6\" \
                 stroke=\"#1f2328\" fill=\"none\"/>",
                middle - 3.0,
                middle - 3.0
            ),
        );
    }
    put(
        svg,
        format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\">{}</text>",
            most.max(LEFT + length) + 8.0,
            middle + 4.0,
            bar.label
        ),
    );
}

fn put_legend(svg: &mut String, y: f64) {
    for (index, look) in [DIRECT, NGINX, POINTSMAN].into_iter().enumerate() {
        let x = LEFT + index as f64 * 110.0;
        put(
            svg,
            format_args!(
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>\
                 <text x=\"{}\" y=\"{:.1}\">{}</text>",
                y - 10.0,
                look.colour,
                x + 18.0,
                y,
                look.name
            ),
        );
    }
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{line}");
}
