use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct Repository;

impl Repository {
    #[cached(region = R, background, skip(self))]
    async fn f(&self, n: u8) -> u8 {
        n
    }
}

fn main() {}
