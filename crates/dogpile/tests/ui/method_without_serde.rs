use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct Repository;

struct User;

impl Repository {
    #[cached(region = R, skip(self))]
    async fn f(&self, n: u8) -> Vec<User> {
        let _ = n;
        Vec::new()
    }
}

fn main() {}
