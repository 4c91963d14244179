//! The short notation for several of a kind: `n1-{n2,n3}` is `n1-n2` and `n1-n3`.

/// Most lines that one line may stand for.
const LINES_MAX: usize = 4_096;

/// Every line that a text with braces stands for, in order.
pub(crate) fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut lines = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (choices, behind) = after.split_once('}').ok_or_else(|| format!("{text:?} lacks a closing brace"))?;
        if choices.contains('{') {
            return Err(format!("{text:?} has braces within braces"));
        }
        let choices: Vec<&str> = choices.split(',').map(str::trim).collect();
        if lines.len() * choices.len() > LINES_MAX {
            return Err(format!("{text:?} stands for more than {LINES_MAX} lines"));
        }
        let longer = |line: &String| choices.iter().map(|choice| format!("{line}{before}{choice}")).collect::<Vec<_>>();
        lines = lines.iter().flat_map(longer).collect();
        rest = behind;
    }
    if rest.contains('}') {
        return Err(format!("{text:?} lacks an opening brace"));
    }
    lines.iter_mut().for_each(|line| line.push_str(rest));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_several() {
        assert_eq!(expand("s1-n1").unwrap(), ["s1-n1"]);
        assert_eq!(expand("n1-{n2, n3} delay=5ms").unwrap(), ["n1-n2 delay=5ms", "n1-n3 delay=5ms"]);
        assert_eq!(expand("{a,b}-{c,d}").unwrap(), ["a-c", "a-d", "b-c", "b-d"]);
        assert!(expand("a-{b").unwrap_err().contains("closing"));
        assert!(expand("a-b}").unwrap_err().contains("opening"));
        assert!(expand(&"{a,b}".repeat(20)).unwrap_err().contains("more than"));
    }
}
