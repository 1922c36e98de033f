// Runs gnuplot.
#pragma once

#include <filesystem>
#include <string>

namespace ropescope {

/// Runs gnuplot on `script` without a shell; what it prints on stdout becomes the file `output`. Throws
/// EnvironmentError if gnuplot is missing (saying how to install it), fails, or leaves nothing.
void run_gnuplot(const std::string& script, const std::filesystem::path& output);

/// A gnuplot string literal. Single quotes: gnuplot would run `...` inside double ones as a shell command.
std::string gnuplot_quoted(const std::string& text);

}  // namespace ropescope
