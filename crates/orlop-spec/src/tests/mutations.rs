//! Whatever becomes of a file, the reader answers, and points into the file.

use crate::parse;

/// A small generator of pseudo-random numbers, so that a failing seed fails again.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

const PIECES: [&str; 40] = [
    "\n",
    "  ",
    ":",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "|",
    ">",
    "%",
    "!x ",
    "? ",
    "~",
    "\t",
    "\r",
    "\0",
    "ü",
    "𝄞",
    "\u{feff}",
    "\u{2028}",
    "9999999999999999999999",
    "-1",
    "null",
    "no",
    "$S:x",
    "$",
    "..",
    "---\n",
    "...\n",
    "true",
    "\\",
    "a: b\n",
    ",",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(4) {
        let start = random.below(chars.len());
        let end = (start + random.below(30)).min(chars.len());
        match random.below(5) {
            0 => drop(chars.drain(start..end)),
            1 => {
                let copy: Vec<char> = chars[start..end].to_vec();
                let at = random.below(chars.len());
                chars.splice(at..at, copy);
            }
            2 => chars.truncate(start.max(1)),
            3 => drop(chars.splice(start..start, PIECES[random.below(PIECES.len())].chars())),
            _ => drop(chars.splice(start..end.min(start + 3), PIECES[random.below(PIECES.len())].chars())),
        }
    }
    chars.into_iter().collect()
}

#[test]
fn a_file_changed_at_random_never_panics_and_every_problem_lies_within_it() {
    let bases = [
        include_str!("../../tests/good/full.yaml"),
        include_str!("../../tests/bad/design.yaml"),
        include_str!("../../tests/bad/types.yaml"),
        include_str!("../../tests/bad/across.yaml"),
    ];
    let (mut good, mut bad) = (0, 0);
    for seed in 1..=2000 {
        let mut random = Random(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let text = mutate(bases[random.below(bases.len())], &mut random);
        let Err(problems) = parse("mutated.yaml", &text) else {
            good += 1;
            continue;
        };
        bad += 1;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines: Vec<&str> = text.split('\n').collect();
        let mut last = (0, 0);
        for problem in &problems {
            let (line, column) = (problem.line, problem.column);
            let length = lines.get(line.wrapping_sub(1)).map(|line| line.chars().count());
            assert!(length.is_some_and(|length| (1..=length + 1).contains(&column)), "seed {seed}: {problem}\n{text}");
            assert!(!problem.found.is_empty() && !problem.allowed.is_empty(), "seed {seed}: {problem}");
            assert!((line, column) >= last, "seed {seed}: not in the order of the file\n{problems}");
            last = (line, column);
            assert_eq!(problem.to_string().lines().count(), 3, "seed {seed}: {problem}");
        }
    }
    assert!(good > 5 && bad > 500, "{good} {bad}");
}
