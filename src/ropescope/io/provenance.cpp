#include <algorithm>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

namespace fs = std::filesystem;

void Provenance::add_input(const fs::path& path) {
  std::error_code code;
  if (fs::is_directory(path, code)) {
    std::vector<fs::path> files;
    for (fs::recursive_directory_iterator entry(path, code), end; !code && entry != end;
         entry.increment(code)) {
      if (entry->is_regular_file(code)) files.push_back(entry->path());
    }
    if (code) throw InputError("{}: the folder cannot be listed ({})", path.string(), code.message());
    std::sort(files.begin(), files.end());  // directory order differs between file systems
    for (const fs::path& file : files) add_input(file);
    return;
  }
  InputFile input;
  input.name = path.filename().string();
  input.sha256 = sha256_of_file(path);
  input.bytes = fs::file_size(path, code);
  if (code) throw InputError("{}: {}", path.string(), code.message());
  inputs.push_back(std::move(input));
}

}  // namespace ropescope
