//! The part of protoc's command line that `prost-build` uses, on top of protox, so that no system package is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = None;
    let mut includes: Vec<PathBuf> = Vec::new();
    let mut files: Vec<PathBuf> = Vec::new();
    let (mut imports, mut source_info) = (false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                println!("libprotoc 33.0 (protoc-rs)");
                return Ok(());
            }
            "--include_imports" => imports = true,
            "--include_source_info" => source_info = true,
            "--experimental_allow_proto3_optional" => {}
            "-o" => output = arguments.next().map(PathBuf::from),
            "-I" => includes.extend(arguments.next().map(PathBuf::from)),
            flag if flag.starts_with("-I") => includes.push(flag[2..].into()),
            flag if flag.starts_with("-o") => output = Some(flag[2..].into()),
            flag if flag.starts_with('-') => return Err(format!("protoc-rs: option {flag} is not supported").into()),
            file => files.push(file.into()),
        }
    }
    let mut compiler = protox::Compiler::new(&includes)?;
    compiler.include_imports(imports).include_source_info(source_info);
    compiler.open_files(&files)?;
    std::fs::write(output.ok_or("protoc-rs: -o FILE is required")?, compiler.encode_file_descriptor_set())?;
    Ok(())
}
