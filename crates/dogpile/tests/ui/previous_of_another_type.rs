use dogpile::{Region, cached};

static REGION: Region = Region::new("r");

#[cached(region = REGION, previous(known))]
fn load(id: u32, known: Option<String>) -> u32 {
    known.map_or(id, |known| known.len() as u32)
}

fn main() {}
