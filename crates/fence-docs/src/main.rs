//! Writes the generated files below the repository that the only argument names.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args_os()
        .nth(1)
        .ok_or("usage: fence-docs REPOSITORY")?;
    let root = PathBuf::from(root);
    for document in fence_docs::documents()? {
        let path = root.join(document.path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, document.text)?;
    }
    Ok(())
}
