//! Colours, for light and for dark pages. Each theme has the same roles; within a theme no two roles have one
//! colour, so that a style sheet can turn one theme into the other.

use std::fmt::Write;

use plotters::style::RGBColor;

/// The colours of a plot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Theme {
    pub(crate) background: RGBColor,
    pub(crate) text: RGBColor,
    /// Of what explains.
    pub(crate) faint: RGBColor,
    pub(crate) grid: RGBColor,
    /// Of series: told apart with any colour vision (after Okabe and Ito), and legible as text.
    pub(crate) series: [RGBColor; 7],
}

/// The colour of everything that is no series of its own.
pub(crate) const GREY: usize = 6;

impl Theme {
    pub(crate) const LIGHT: Self = Self {
        background: RGBColor(0xff, 0xff, 0xff),
        text: RGBColor(0x1b, 0x1f, 0x24),
        faint: RGBColor(0x59, 0x63, 0x6e),
        grid: RGBColor(0xdd, 0xe1, 0xe6),
        series: [
            RGBColor(0x00, 0x68, 0xa8),
            RGBColor(0xc2, 0x4d, 0x00),
            RGBColor(0x00, 0x7a, 0x5a),
            RGBColor(0xa8, 0x44, 0x86),
            RGBColor(0x86, 0x63, 0x00),
            RGBColor(0x6a, 0x4f, 0xc0),
            RGBColor(0x6b, 0x74, 0x80),
        ],
    };
    pub(crate) const DARK: Self = Self {
        background: RGBColor(0x0f, 0x14, 0x19),
        text: RGBColor(0xe8, 0xec, 0xf0),
        faint: RGBColor(0xa3, 0xad, 0xb8),
        grid: RGBColor(0x2e, 0x36, 0x40),
        series: [
            RGBColor(0x5a, 0xb4, 0xf0),
            RGBColor(0xff, 0x94, 0x4d),
            RGBColor(0x3d, 0xc9, 0x9c),
            RGBColor(0xe7, 0x9a, 0xcb),
            RGBColor(0xe5, 0xb9, 0x4c),
            RGBColor(0xae, 0x9c, 0xf5),
            RGBColor(0x9a, 0xa4, 0xb0),
        ],
    };

    /// The colour of a series.
    pub(crate) fn colour(&self, index: usize) -> RGBColor {
        self.series[index.min(self.series.len() - 1)]
    }

    fn roles(&self) -> Vec<RGBColor> {
        [self.background, self.text, self.faint, self.grid].into_iter().chain(self.series).collect()
    }

    /// Rules of a style sheet that show what was drawn in this theme in another.
    pub(crate) fn turned_into(&self, other: &Self) -> String {
        let mut css = String::new();
        for (from, to) in self.roles().into_iter().zip(other.roles()) {
            let (from, to) = (hex(from), hex(to));
            for property in ["fill", "stroke"] {
                // Writing to a string cannot fail.
                let _ = writeln!(css, "svg [{property}=\"{from}\"] {{ {property}: {to}; }}");
            }
        }
        css
    }
}

/// As plotters writes it.
pub(crate) fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(RGBColor(r, g, b): RGBColor) -> f64 {
        let part = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
    }

    /// WCAG 2.1, success criterion 1.4.3.
    #[test]
    fn all_text_can_be_read_in_both_themes() {
        for theme in [Theme::LIGHT, Theme::DARK] {
            let background = luminance(theme.background);
            for colour in theme.series.into_iter().chain([theme.text, theme.faint]) {
                let own = luminance(colour);
                let contrast = (own.max(background) + 0.05) / (own.min(background) + 0.05);
                assert!(contrast >= 4.5, "{} on {}: {contrast:.2}", hex(colour), hex(theme.background));
            }
        }
    }

    #[test]
    fn every_role_has_a_colour_of_its_own() {
        for theme in [Theme::LIGHT, Theme::DARK] {
            let mut roles: Vec<_> = theme.roles().into_iter().map(hex).collect();
            roles.sort();
            roles.dedup();
            assert_eq!(roles.len(), theme.roles().len());
        }
        let css = Theme::LIGHT.turned_into(&Theme::DARK);
        assert_eq!(css.lines().count(), 2 * Theme::LIGHT.roles().len());
        assert!(css.contains("svg [stroke=\"#0068A8\"] { stroke: #5AB4F0; }"));
    }
}
