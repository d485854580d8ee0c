//! Owns the report's charts: lines and labelled points as inline SVG, in the colours of the page.
//!
//! Refuses scripts and anything that is not drawn from the numbers given.

use super::text::escape;
use crate::quantities::{bytes, grouped};

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// Colours of the page's style sheet.
const COLOURS: usize = 8;
/// Patterns of lines: a second sign beside the colour.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

/// One point; `error` is half the length of its whisker.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    pub error: f64,
    /// Stands beside the point, when it is not empty.
    pub label: String,
}

/// How points are drawn: a second sign beside the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drawn {
    /// Connected in their order.
    Line,
    Circles,
    Squares,
    Diamonds,
}

/// Points with a name.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub name: String,
    pub drawn: Drawn,
    pub points: Vec<Point>,
}

/// What a chart shows.
pub(super) struct Chart<'c> {
    /// What it is, for those who cannot see it, and as its caption.
    pub caption: &'c str,
    pub x: &'c str,
    pub series: &'c [Series],
    pub scale: Scale,
}

/// How a horizontal axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Whole numbers at equal distances.
    Numbers,
    /// Shares, 0 to 1.
    Shares,
    /// Numbers by their logarithm.
    Logarithm,
    /// Seconds by their logarithm.
    Seconds,
    /// Numbers of something a second by their logarithm, with round ticks …
    Rate,
    /// … and bytes.
    Bytes,
}

impl Scale {
    fn place(self, x: f64) -> f64 {
        match self {
            Self::Numbers | Self::Shares => x,
            _ => x.max(0.05).log10(),
        }
    }

    /// Ticks inside the range, in units of the axis: the value and its text.
    fn ticks(self, low: f64, high: f64, series: &[Series]) -> Vec<(f64, String)> {
        match self {
            Self::Numbers => steps(low, high, 6)
                .into_iter()
                .filter(|x| x.fract() == 0.0)
                .map(|x| (x, format!("{x}")))
                .collect(),
            Self::Shares => steps(low, high, 5).into_iter().map(|x| (x, short(x))).collect(),
            Self::Logarithm => {
                let mut values: Vec<f64> =
                    series.iter().flat_map(|line| &line.points).map(|point| point.x).collect();
                values.sort_by(f64::total_cmp);
                values.dedup();
                values.into_iter().map(|x| (x, format!("{x:.0}"))).collect()
            }
            Self::Seconds => [
                (0.1, "0.1 s"),
                (1.0, "1 s"),
                (10.0, "10 s"),
                (60.0, "1 min"),
                (600.0, "10 min"),
                (3600.0, "1 h"),
                (36000.0, "10 h"),
            ]
            .into_iter()
            .filter(|(x, _)| (low..=high).contains(&self.place(*x)))
            .map(|(x, text)| (x, text.to_owned()))
            .collect(),
            Self::Rate => named(round(low, high), &grouped),
            Self::Bytes => named(round(low, high), &bytes),
        }
    }
}

/// Steps of 1, 2 or 5 times a power of ten, at most about `most` of them.
fn steps(low: f64, high: f64, most: u32) -> Vec<f64> {
    let rough = ((high - low) / f64::from(most)).max(1e-9);
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(unit * 10.0);
    let first = (low / step).ceil();
    (0_u32..=2 * most)
        .map(|place| (first + f64::from(place)) * step)
        .take_while(|value| *value <= high + step * 1e-6)
        // −0 and rounding: 0.30000000000000004.
        .map(|value| (value * 1e9).round() / 1e9 + 0.0)
        .collect()
}

/// Round numbers between powers of ten, more of them where the range is narrow.
fn round(low: f64, high: f64) -> Vec<f64> {
    const FEW: [f64; 3] = [1.0, 2.0, 5.0];
    const MORE: [f64; 10] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let between = |factors: &[f64]| -> Vec<f64> {
        let units = (low.floor() as i32..=high.floor() as i32).map(|power| 10_f64.powi(power));
        let all = units.flat_map(|unit| factors.iter().map(move |factor| factor * unit));
        all.filter(|value| (low..=high).contains(&value.log10())).collect()
    };
    let few = between(&FEW);
    let more = if few.len() < 3 { between(&MORE) } else { few };
    if more.len() < 2 { steps(10_f64.powf(low), 10_f64.powf(high), 5) } else { more }
}

fn named(values: Vec<f64>, name: &dyn Fn(u64) -> String) -> Vec<(f64, String)> {
    values.into_iter().map(|value| (value, name(value.round() as u64))).collect()
}

/// The smallest and the largest of some numbers, a little wider.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let wider = (0.06 * (high - low)).max(1e-3);
    low.is_finite().then_some((low - wider, high + wider))
}

/// Where numbers lie in the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let share = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
        (
            LEFT + share(x, self.x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - share(y, self.y) * (HEIGHT - TOP - BOTTOM),
        )
    }
}

impl Chart<'_> {
    /// The chart with its caption and legend; nothing without points.
    pub fn figure(&self) -> String {
        let points = || self.series.iter().flat_map(|line| &line.points);
        let x = range(points().map(|point| self.scale.place(point.x)));
        let y = range(points().flat_map(|point| [point.y - point.error, point.y + point.error]));
        let (Some(x), Some(y)) = (x, y) else { return String::new() };
        let frame = Frame { x, y };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.caption)
        );
        self.axes(&frame, &mut svg);
        for (number, series) in self.series.iter().enumerate() {
            self.draw(number, series, &frame, &mut svg);
        }
        self.label(&frame, &mut svg);
        svg += "</svg>";
        format!("<figure><figcaption>{}</figcaption>{svg}{}</figure>", escape(self.caption), self.legend())
    }

    fn axes(&self, frame: &Frame, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in steps(frame.y.0, frame.y.1, 5) {
            let (_, y) = frame.place(frame.x.0, value);
            *svg +=
                &format!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            *svg += &format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                short(value)
            );
        }
        for (value, text) in self.scale.ticks(frame.x.0, frame.x.1, self.series) {
            let (x, _) = frame.place(self.scale.place(value), frame.y.0);
            *svg += &format!(
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>",
                bottom + 4.0
            );
            *svg += &format!(
                "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 19.0,
                escape(&text)
            );
        }
        *svg +=
            &format!("<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>");
        *svg += &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 6.0,
            escape(self.x)
        );
    }

    fn draw(&self, number: usize, series: &Series, frame: &Frame, svg: &mut String) {
        let colour = number % COLOURS;
        let places: Vec<(f64, f64)> =
            series.points.iter().map(|point| frame.place(self.scale.place(point.x), point.y)).collect();
        if series.drawn == Drawn::Line {
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            *svg += &format!(
                "<polyline class=\"line k{colour}\" {}points=\"{}\"/>",
                dashes(number),
                path.join(" ")
            );
        }
        for (point, (x, y)) in series.points.iter().zip(places) {
            if point.error > 0.0 {
                let whisker = |error: f64| frame.place(0.0, point.y + error).1;
                *svg += &format!(
                    "<line class=\"whisker k{colour}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    whisker(point.error),
                    whisker(-point.error)
                );
            }
            *svg += &mark(series.drawn, colour, (x, y), 3.5);
        }
    }

    /// The points' labels, beside the points and one another.
    fn label(&self, frame: &Frame, svg: &mut String) {
        let points: Vec<(&Point, f64, f64)> = self
            .series
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| {
                let (x, y) = frame.place(self.scale.place(point.x), point.y);
                (point, x, y)
            })
            .collect();
        // A text's line is a little below its middle.
        let mut labels = Labels(points.iter().map(|(_, x, y)| (x - 4.0, 8.0, y + 4.0)).collect());
        for (point, x, y) in points.iter().filter(|(point, ..)| !point.label.is_empty()) {
            labels.put(*x, *y, &point.label, svg);
        }
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let entries = self.series.iter().enumerate().map(|(number, series)| {
            let colour = number % COLOURS;
            let sign = match series.drawn {
                Drawn::Line => format!(
                    "<line class=\"line k{colour}\" {}x1=\"0\" x2=\"28\" y1=\"6\" y2=\"6\"/>",
                    dashes(number)
                ),
                drawn => mark(drawn, colour, (14.0, 6.0), 4.0),
            };
            format!(
                "<li><svg viewBox=\"0 0 28 12\" aria-hidden=\"true\">{sign}</svg>{}</li>",
                escape(&series.name)
            )
        });
        format!("<ul class=\"legend\">{}</ul>", entries.collect::<String>())
    }
}

/// The sign of a point.
fn mark(drawn: Drawn, colour: usize, (x, y): (f64, f64), size: f64) -> String {
    match drawn {
        Drawn::Line | Drawn::Circles => {
            format!("<circle class=\"k{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\"/>")
        }
        Drawn::Squares => format!(
            "<rect class=\"k{colour}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{side}\" height=\"{side}\"/>",
            x - size,
            y - size,
            side = 2.0 * size
        ),
        Drawn::Diamonds => {
            let far = 1.4 * size;
            format!(
                "<path class=\"k{colour}\" d=\"M{x:.1} {:.1} L{:.1} {y:.1} L{x:.1} {:.1} L{:.1} {y:.1} Z\"/>",
                y - far,
                x + far,
                y + far,
                x - far
            )
        }
    }
}

fn dashes(number: usize) -> String {
    match DASHES[number % DASHES.len()] {
        "" => String::new(),
        dashes => format!("stroke-dasharray=\"{dashes}\" "),
    }
}

/// A tick's number without needless digits.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Labels that do not cover one another: left edge, width and line of each.
struct Labels(Vec<(f64, f64, f64)>);

impl Labels {
    fn put(&mut self, x: f64, y: f64, text: &str, svg: &mut String) {
        let width = 8.0 * text.chars().count() as f64;
        let right = x + 8.0 + width < WIDTH;
        let start = if right { x + 7.0 } else { x - 7.0 - width };
        let free = |y: f64, labels: &Self| {
            labels.0.iter().all(|(other, width_of, at)| {
                start + width < *other || other + width_of < start || (y - at).abs() >= 14.0
            })
        };
        // Beside the point, else the nearest free place above or below it.
        let tries = [0.0, -14.0, 14.0, -28.0, 28.0, -42.0, 42.0, -56.0, 56.0].map(|step| y + 4.0 + step);
        let inside = |y: &f64| (TOP..HEIGHT - BOTTOM).contains(y);
        let place = tries.into_iter().filter(inside).find(|y| free(*y, self)).unwrap_or(y + 4.0);
        self.0.push((start, width, place));
        let (anchor, at) = if right { ("start", x + 7.0) } else { ("end", x - 7.0) };
        *svg +=
            &format!("<text x=\"{at:.1}\" y=\"{place:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(steps(0.61, 0.97, 5), [0.7, 0.8, 0.9]);
        assert_eq!(steps(-0.001, 3.2, 6), [-0.0 + 0.0, 1.0, 2.0, 3.0]);
        assert!(steps(0.5, 0.5, 5).len() <= 10);
        assert_eq!([short(0.7), short(1.0), short(0.125)], ["0.7", "1", "0.125"]);
    }

    #[test]
    fn ticks_of_rates_and_sizes_are_round_and_at_least_two() {
        let of = |scale: Scale, low: f64, high: f64| -> Vec<String> {
            scale.ticks(low.log10(), high.log10(), &[]).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(of(Scale::Rate, 800.0, 12_000.0), ["1,000", "2,000", "5,000", "10,000"]);
        assert_eq!(of(Scale::Rate, 1_100.0, 2_300.0), ["1,500", "2,000"]);
        assert_eq!(of(Scale::Bytes, 4.5e6, 24e6), ["5.0 MB", "10.0 MB", "20.0 MB"]);
        assert!(of(Scale::Bytes, 11.2e6, 11.9e6).len() >= 2);
    }

    #[test]
    fn every_point_is_in_the_picture_and_the_higher_value_is_higher() {
        let point = |x: f64, y: f64| Point { x, y, error: 0.01, label: format!("<{y}>") };
        let series = [
            Series {
                name: "a & b".into(),
                drawn: Drawn::Circles,
                points: vec![point(0.01, 0.5), point(100.0, 0.9)],
            },
            Series { name: "c".into(), drawn: Drawn::Circles, points: vec![point(100.0, 0.905)] },
        ];
        let chart = Chart { caption: "x < y", x: "time", series: &series, scale: Scale::Seconds };
        let figure = chart.figure();
        let places: Vec<(f64, f64)> = figure
            .split("<circle ")
            .filter(|part| part.contains("r=\"3.5\""))
            .map(|part| {
                let number = |name: &str| {
                    let rest = &part[part.find(name).unwrap() + name.len() + 2..];
                    rest[..rest.find('"').unwrap()].parse::<f64>().unwrap()
                };
                (number("cx"), number("cy"))
            })
            .collect();
        assert_eq!(places.len(), 3);
        assert!(places.iter().all(|(x, y)| (0.0..WIDTH).contains(x) && (0.0..HEIGHT).contains(y)));
        assert!(places[1].1 < places[0].1 && places[1].0 > places[0].0);
        assert!(
            figure.contains("a &amp; b") && figure.contains("x &lt; y") && figure.contains("&lt;0.5&gt;")
        );
        assert!(figure.contains("10 s"));
    }

    #[test]
    fn no_points_are_no_picture() {
        let series = [Series { name: "a".into(), drawn: Drawn::Line, points: Vec::new() }];
        let chart = Chart { caption: "", x: "", series: &series, scale: Scale::Numbers };
        assert_eq!(chart.figure(), "");
    }
}
