//! Checks that the modules of a crate do not import each other in a circle.
//!
//! A module is a file. It depends on the files that define what its paths name, by `use` or in
//! place: `crate::`, `super::` and names of its own child modules. Re-exports are followed to
//! the definition, `mod` lines are no dependency, and code for tests is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, UseTree};

use crate::run::Error;

/// The crates that are checked.
const CRATES: [&str; 7] = [
    "dogpile",
    "dogpile-macros",
    "dogpile-orm",
    "dogpile-python",
    "dogpile-cli",
    "dogpile-testkit",
    "dogpile-servers",
];

pub(crate) fn check() -> Result<(), Error> {
    let mut found = Vec::new();
    for name in CRATES {
        let modules = Modules::read(&Path::new("crates").join(name).join("src"))?;
        for circle in modules.circles() {
            found.push(format!("{name}: {}", circle.join(", ")));
            found.extend(modules.ties(&circle));
        }
    }
    if found.is_empty() {
        println!("no circle of modules in {} crates", CRATES.len());
        return Ok(());
    }
    Err(Error(format!("modules import each other in a circle:\n{}", found.join("\n"))))
}

/// A path from the root of a crate: `["region", "entry"]`.
type Path_ = Vec<String>;

/// A module's file: what it imports by which name, and all paths that it mentions.
#[derive(Default)]
struct Module {
    imports: BTreeMap<String, Path_>,
    globs: Vec<Path_>,
    mentions: BTreeSet<Path_>,
}

struct Modules(BTreeMap<Path_, Module>);

impl Modules {
    fn read(root: &Path) -> Result<Self, Error> {
        let mut modules = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "rs") {
                    let name = module_path(root, &path);
                    let file = syn::parse_file(&fs::read_to_string(&path)?)
                        .map_err(|error| Error(format!("{}: {error}", path.display())))?;
                    modules.insert(name.clone(), read_module(name, &file));
                }
            }
        }
        Ok(Self(modules))
    }

    /// Returns the file that defines what `path` names, unless it lies outside the crate.
    fn definition(&self, path: &[String]) -> Option<Path_> {
        self.resolve(path, 8)
    }

    fn resolve(&self, path: &[String], depth: usize) -> Option<Path_> {
        let depth = depth.checked_sub(1)?;
        let end = (0..=path.len()).rev().find(|end| self.0.contains_key(&path[..*end]))?;
        let (place, rest) = path.split_at(end);
        let module = &self.0[place];
        let Some(first) = rest.first() else { return Some(place.to_vec()) };
        if let Some(import) = module.imports.get(first) {
            return self.resolve(import, depth);
        }
        Some(place.to_vec())
    }

    fn dependencies(&self, name: &Path_) -> BTreeSet<Path_> {
        let module = &self.0[name];
        let mut found: BTreeSet<Path_> =
            module.mentions.iter().filter_map(|path| self.definition(path)).collect();
        found.extend(module.globs.iter().filter_map(|path| self.definition(path)));
        found.remove(name);
        // A child may know its parents.
        found.retain(|other| !name.starts_with(other));
        found
    }

    /// Returns the groups of modules that reach each other.
    fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&Path_, BTreeSet<Path_>> =
            self.0.keys().map(|name| (name, self.reachable(name))).collect();
        let mut circles = BTreeSet::new();
        for (name, from) in &reached {
            let mut circle: Vec<String> = from
                .iter()
                .filter(|other| reached[other].contains(*name))
                .map(|other| other.join("::"))
                .collect();
            circle.sort();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reachable(&self, name: &Path_) -> BTreeSet<Path_> {
        let (mut reached, mut next) = (BTreeSet::new(), vec![name.clone()]);
        while let Some(name) = next.pop() {
            next.extend(
                self.dependencies(&name).into_iter().filter(|one| reached.insert(one.clone())),
            );
        }
        reached
    }

    /// Describes what ties the modules of `circle` together.
    fn ties(&self, circle: &[String]) -> Vec<String> {
        let mut ties = Vec::new();
        for (name, module) in &self.0 {
            let from = name.join("::");
            if !circle.contains(&from) {
                continue;
            }
            for path in module.mentions.iter().chain(&module.globs) {
                let Some(to) = self.definition(path).map(|to| to.join("::")) else { continue };
                if to != from && circle.contains(&to) {
                    ties.push(format!("  {from} -> {to}: {}", path.join("::")));
                }
            }
        }
        ties.sort();
        ties.dedup();
        ties
    }
}

fn module_path(root: &Path, file: &Path) -> Path_ {
    let inner: PathBuf = file.strip_prefix(root).unwrap_or(file).with_extension("");
    let mut parts: Path_ = inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

fn read_module(name: Path_, file: &syn::File) -> Module {
    let children = file.items.iter().filter_map(|item| match item {
        Item::Mod(child) if child.content.is_none() => Some(child.ident.to_string()),
        _ => None,
    });
    let mut reader = Reader { children: children.collect(), name, module: Module::default() };
    reader.visit_file(file);
    reader.module
}

struct Reader {
    name: Path_,
    children: BTreeSet<String>,
    module: Module,
}

impl Reader {
    /// Returns the path from the crate's root, for one that begins within the crate.
    fn absolute(&self, path: &[String]) -> Option<Path_> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&self.name[..], rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let kept = self.name.len().checked_sub(ups)?;
                Some([&self.name[..kept], &path[ups..]].concat())
            }
            child if self.children.contains(child) => Some([&self.name[..], path].concat()),
            _ => None,
        }
    }

    fn import(&mut self, tree: &UseTree, mut before: Path_) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, before.clone()));
            }
            UseTree::Glob(_) => self.module.globs.extend(self.absolute(&before)),
            UseTree::Name(name) => self.named(before, &name.ident.to_string(), None),
            UseTree::Rename(name) => {
                self.named(before, &name.ident.to_string(), Some(name.rename.to_string()));
            }
        }
    }

    fn named(&mut self, mut path: Path_, name: &str, renamed: Option<String>) {
        let last = path.last().cloned();
        let alias = renamed.unwrap_or_else(|| {
            if name == "self" { last.unwrap_or_default() } else { name.to_owned() }
        });
        if name != "self" {
            path.push(name.to_owned());
        }
        let Some(path) = self.absolute(&path) else { return };
        self.module.imports.insert(alias, path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Vec::new());
        // A re-export is followed by those who use it; only what is imported for the file itself
        // is its own dependency.
        if matches!(item.vis, syn::Visibility::Inherited) {
            let mut own = Reader {
                name: self.name.clone(),
                children: self.children.clone(),
                module: Module::default(),
            };
            own.import(&item.tree, Vec::new());
            self.module.mentions.extend(own.module.imports.into_values());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Path_ = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.module.mentions.extend(self.absolute(&parts));
        }
        visit::visit_path(self, path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

/// Is the item compiled for tests only?
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    })
}
