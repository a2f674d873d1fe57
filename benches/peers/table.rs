//! The report: sections of rows, each ours beside a peer's.

use serde_json::{Value, json};

/// Measurements of one kind.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Two measurements, and what their relation should be.
pub(crate) struct Row {
    name: String,
    ours: f64,
    peer: String,
    theirs: f64,
    unit: &'static str,
    target: Option<Target>,
}

#[derive(Clone, Copy)]
enum Target {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Row {
    pub(crate) fn new(
        (name, ours): (impl Into<String>, f64),
        (peer, theirs): (impl Into<String>, f64),
        unit: &'static str,
    ) -> Self {
        Self { name: name.into(), ours, peer: peer.into(), theirs, unit, target: None }
    }

    /// Ours should be at most `limit` times the peer's.
    pub(crate) fn ratio_at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::RatioAtMost(limit));
        self
    }

    /// Ours should be at least `limit` times the peer's.
    pub(crate) fn ratio_at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::RatioAtLeast(limit));
        self
    }

    /// Ours should be at most `limit`, whatever the peer's is.
    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    /// Ours should be at least `limit`, whatever the peer's is.
    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtLeast(limit));
        self
    }

    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }

    fn is_met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::RatioAtMost(limit) => self.ratio() <= limit,
            Target::RatioAtLeast(limit) => self.ratio() >= limit,
            Target::AtMost(limit) => self.ours <= limit,
            Target::AtLeast(limit) => self.ours >= limit,
        })
    }

    fn shown_target(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::RatioAtMost(limit)) => format!("<= {limit} x"),
            Some(Target::RatioAtLeast(limit)) => format!(">= {limit} x"),
            Some(Target::AtMost(limit)) => format!("<= {limit} {}", self.unit),
            Some(Target::AtLeast(limit)) => format!(">= {limit:.1} {}", self.unit),
        }
    }

    fn line(&self) -> String {
        let Self { name, ours, peer, theirs, unit, .. } = self;
        let mark = match self.is_met() {
            None => "",
            Some(true) => "ok",
            Some(false) => "MISSED",
        };
        let ratio = self.ratio();
        let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { "-".to_owned() };
        let target = self.shown_target();
        let row = format!(
            "  {name:46}{ours:8.1} {unit:6}  {peer:30}{theirs:8.1} {ratio:>6}  {target:9}  {mark}"
        );
        row.trim_end().to_owned()
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "theirs": self.theirs,
            "unit": self.unit,
            "ratio": self.ratio(),
            "target": self.target.map(|_| self.shown_target()),
            "met": self.is_met(),
        })
    }
}

impl Section {
    fn print(&self) {
        println!("\n{}", self.title);
        let (ours, peer, theirs) = ("ours", "peer", "theirs");
        println!("  {:46}{ours:>8} {:6}  {peer:30}{theirs:>8}  ratio  target", "", "");
        self.rows.iter().for_each(|row| println!("{}", row.line()));
    }

    fn to_json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({ "title": self.title, "rows": rows })
    }
}

/// Prints sections as they come, or all of them as one JSON object, and in the end once more what has
/// a target.
pub(crate) struct Report {
    json: Option<Vec<Value>>,
    with_targets: Vec<String>,
    missed: usize,
}

impl Report {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { json: as_json.then(Vec::new), with_targets: Vec::new(), missed: 0 }
    }

    pub(crate) fn add(&mut self, section: &Section) {
        self.missed += section.rows.iter().filter(|row| row.is_met() == Some(false)).count();
        let with_targets = section.rows.iter().filter(|row| row.target.is_some());
        self.with_targets.extend(with_targets.map(Row::line));
        match &mut self.json {
            Some(sections) => sections.push(section.to_json()),
            None => section.print(),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(sections) = self.json {
            println!("{}", json!({ "sections": sections, "missed": self.missed }));
            return;
        }
        println!("\nall that has a target");
        self.with_targets.iter().for_each(|row| println!("{row}"));
        println!("\n{} target(s) missed", self.missed);
    }
}
