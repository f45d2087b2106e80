//! Columns that line up.

/// A table with a header, columns two spaces apart, no trailing blanks. Cells keep to one line.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines: Vec<Vec<String>> = vec![header.iter().map(|h| (*h).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|text| plain(text)).collect()));
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Lines of `name: value`, the values in one column; entries without a value are left out.
pub(crate) fn fields(entries: &[(&str, Option<String>)]) -> String {
    let shown: Vec<(&str, &String)> = entries.iter().filter_map(|(name, v)| v.as_ref().map(|v| (*name, v))).collect();
    let width = shown.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0);
    shown.iter().map(|(name, value)| format!("{:<width$}  {}\n", format!("{name}:"), plain(value))).collect()
}

/// On one line and without control characters: texts come from containers and other machines, and must not write escape
/// sequences to a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
