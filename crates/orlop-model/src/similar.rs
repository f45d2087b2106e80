//! How far one word is from another: what somebody may have meant.

/// Characters that are compared; what is beyond is taken as equal, so that a long word costs no more than a short one.
const COMPARED_MAX: usize = 130;

/// How many characters must be inserted, removed, replaced or swapped with their neighbour to get from one to the other.
pub fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) =
        (from.chars().take(COMPARED_MAX).collect(), to.chars().take(COMPARED_MAX).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let mut best = (last[j] + usize::from(from[i] != to[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn each_slip_of_the_fingers_counts_once() {
        for (from, to, slips) in
            [("", "", 0), ("api", "api", 0), ("ap", "api", 1), ("pai", "api", 1), ("opi", "api", 1), ("web", "api", 3)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (slips, slips), "{from} {to}");
        }
        assert_eq!(distance(&"x".repeat(1_000_000), &"x".repeat(1_000)), 0);
    }
}
