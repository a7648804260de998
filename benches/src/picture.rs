//! Curves as a picture (SVG).
use std::fmt::Write as _;

/// Lines over one axis of powers of ten.
pub struct Chart<'c> {
    /// What it shows.
    pub title: &'c str,
    /// What the axis of powers of ten says.
    pub x: &'c str,
    /// What the other axis says, which starts at 0.
    pub y: &'c str,
    /// The lines.
    pub lines: &'c [Line],
}

/// One line.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its points from left to right, as `(x, y)`; `x` is above 0.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 420.0;
/// Where the area of the lines begins and ends.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 360.0;
/// Told apart also by those who do not see all colours (after Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#56b4e9", "#e69f00", "#009e73", "#cc79a7"];

impl Chart<'_> {
    /// The picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, (LEFT, 25.0), "start", self.title);
        text(&mut svg, ((LEFT + RIGHT) / 2.0, BOTTOM + 45.0), "middle", self.x);
        text(&mut svg, (LEFT, TOP - 8.0), "start", self.y);
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let decades = (
            points().map(|(x, _)| x.log10().floor()).fold(f64::INFINITY, f64::min),
            points().map(|(x, _)| x.log10().ceil()).fold(f64::NEG_INFINITY, f64::max),
        );
        let step = step(points().map(|(_, y)| *y).fold(0.0, f64::max));
        let top = step * 5.0;
        let at = |(x, y): (f64, f64)| {
            let right = (x.log10() - decades.0) / (decades.1 - decades.0).max(1.0);
            (LEFT + right * (RIGHT - LEFT), BOTTOM - y / top * (BOTTOM - TOP))
        };
        for mark in 0..=5 {
            let y = step * f64::from(mark);
            let (_, height) = at((1.0, y));
            let _ = writeln!(svg, "<path d=\"M{LEFT} {height:.1}H{RIGHT}\" stroke=\"#ddd\"/>");
            text(&mut svg, (LEFT - 8.0, height + 4.0), "end", &y.to_string());
        }
        let mut decade = decades.0;
        while decade <= decades.1 {
            let x = 10_f64.powf(decade);
            text(&mut svg, (at((x, 0.0)).0, BOTTOM + 20.0), "middle", &x.to_string());
            decade += 1.0;
        }
        for (index, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let points: Vec<_> = line.points.iter().map(|point| at(*point)).collect();
            let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            let _ = writeln!(svg, "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
            for (x, y) in &points {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
            }
            let height = TOP + 20.0 * index as f64;
            let _ = writeln!(svg, "<path d=\"M{} {height}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>", RIGHT + 15.0);
            text(&mut svg, (RIGHT + 40.0, height + 4.0), "start", &line.name);
        }
        svg + "</svg>\n"
    }
}

/// A round number of which five reach `most`.
fn step(most: f64) -> f64 {
    let least = (most / 5.0).max(f64::MIN_POSITIVE);
    let decade = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|step| *step >= least).unwrap_or(least)
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_reach_the_top() {
        for (most, expected) in [(37.0, 10.0), (50.0, 10.0), (51.0, 20.0), (870.0, 200.0), (0.9, 0.2)] {
            assert!((step(most) - expected).abs() < 1e-9, "{most}: {}", step(most));
        }
    }

    #[test]
    fn every_point_is_within_the_axes() {
        let points = vec![(10.0, 40.0), (300.0, 45.0), (10_000.0, 60.0)];
        let lines = [Line { name: "a < b".into(), points }, Line { name: "flat".into(), points: vec![(10.0, 0.0)] }];
        let svg = Chart { title: "title", x: "x", y: "y", lines: &lines }.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">10000<") && svg.contains(">100<"));
        let circles: Vec<&str> = svg.lines().filter(|line| line.starts_with("<circle")).collect();
        assert_eq!(circles.len(), 4);
        for circle in circles {
            let number = |name: &str| -> f64 {
                let rest = circle.split_once(name).unwrap().1;
                rest.split('"').next().unwrap().parse().unwrap()
            };
            let (x, y) = (number("cx=\""), number("cy=\""));
            assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{circle}");
        }
    }
}
