// Reads a standard-JSON compiler input from standard input, writes the compiler's output: node compile.js <solc package>
const fs = require("fs");
const path = require("path");

const solc = require(path.join(__dirname, "node_modules", process.argv[2]));
process.stdout.write(solc.compile(fs.readFileSync(0, "utf8")));
