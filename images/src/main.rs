//! `axle-images`: container images from static programs, each with a list of what is in it.
//!
//! No engine, no registry, no network: an image is a few files in an archive. The same programs give the same bytes.
mod bill;
mod elf;
mod recipe;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use axle_images::{Compression, Image};
use clap::Parser;

use bill::Packages;

/// Writes Axle's container images, each as one archive that Docker, Podman and containerd load.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the static programs.
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The target that they were built for.
    #[arg(long, value_name = "TRIPLE")]
    target: String,
    /// Where the archives go; `NAME.tar`, and `NAME.cdx.json`, the list of what is in it.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the images' names begin with.
    #[arg(long, value_name = "HOST/PATH", default_value = "axle.dev")]
    registry: String,
    /// Only these images.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "axle-images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { programs, target, out, registry, names } = arguments;
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let packages = Packages::resolve(target)?;
    let mut table = io::stdout().lock();
    writeln!(table, "{:<20} {:>9} {:>10}  NAME", "IMAGE", "UNPACKED", "COMPRESSED")?;
    for recipe in recipe::chosen(names)? {
        let name = format!("{registry}/{}:{}", recipe.name, env!("CARGO_PKG_VERSION"));
        let bill = packages.bill(&recipe, programs)?;
        fs::write(out.join(format!("{}.cdx.json", recipe.name)), &bill)?;
        let image = Image::new(&name, &recipe.config(), &recipe.layer(programs, bill)?, Compression::best())?;
        fs::write(out.join(format!("{}.tar", recipe.name)), image.archive()?)?;
        writeln!(
            table,
            "{:<20} {:>6.1} MB {:>7.1} MB  {name}",
            recipe.name,
            megabytes(image.unpacked()),
            megabytes(image.compressed())
        )?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
