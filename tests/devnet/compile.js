// Reads a standard-JSON compiler input from standard input, writes the compiler's output. Imports come from a folder.
//   node compile.js <solc package> <folder>
const fs = require("fs");
const path = require("path");

const [solcPackage, folder] = process.argv.slice(2);
const solc = require(path.join(__dirname, "node_modules", solcPackage));

function readImport(name) {
  const file = path.join(folder, name);
  return fs.existsSync(file) ? { contents: fs.readFileSync(file, "utf8") } : { error: `${name} is in no package` };
}

process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: readImport }));
