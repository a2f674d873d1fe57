//! A process that keeps a [collection](dogpile_servers::fleet::Keeping), over any
//! built-in backend.

fn main() {
    dogpile_servers::fleet::collection_worker();
}
