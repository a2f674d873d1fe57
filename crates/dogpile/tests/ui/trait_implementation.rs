use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct Database;

trait Loads {
    async fn load(&self, id: u32) -> u32;
}

impl Loads for Database {
    #[cached(region = R, skip(self))]
    async fn load(&self, id: u32) -> u32 {
        id
    }
}

fn main() {}
