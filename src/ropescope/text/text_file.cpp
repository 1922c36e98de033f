#include "ropescope/text/text_file.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/text/utf8.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

struct BinaryForm {
  std::string_view start;  ///< the file's first bytes
  std::string_view end;    ///< and its last, where the first are too short to be sure
  const char* name;
  const char* way_out;
};

using namespace std::string_view_literals;

constexpr const char* kUnpack = "; unpack it first";
constexpr std::array<BinaryForm, 22> kForms = {{
    {"PAR1"sv, "PAR1"sv, "a Parquet file", "; data/parquet_to_jsonl.py converts it"},
    {"ARROW1"sv, "ARROW1"sv, "an Arrow file", "; write it as .jsonl"},
    {"\x89PNG"sv, ""sv, "a PNG picture", ""},
    {"\xFF\xD8\xFF"sv, ""sv, "a JPEG picture", ""},
    {"GIF87a"sv, ""sv, "a GIF picture", ""},
    {"GIF89a"sv, ""sv, "a GIF picture", ""},
    {"II*\0"sv, ""sv, "a TIFF picture", ""},
    {"MM\0*"sv, ""sv, "a TIFF picture", ""},
    {"%PDF-"sv, ""sv, "a PDF document", "; extract its text first"},
    {"PK\x03\x04"sv, ""sv, "a ZIP archive (or .docx, .epub, .xlsx)", kUnpack},
    {"\x1F\x8B"sv, ""sv, "a gzip file", kUnpack},
    {"BZh91AY&SY"sv, ""sv, "a bzip2 file", kUnpack},
    {"\xFD"
     "7zXZ"sv,
     ""sv, "an xz file", kUnpack},
    {"\x28\xB5\x2F\xFD"sv, ""sv, "a Zstandard file", kUnpack},
    {"7z\xBC\xAF"sv, ""sv, "a 7-Zip archive", kUnpack},
    {"\x7F"
     "ELF"sv,
     ""sv, "a program", ""},
    {"\x89HDF"sv, ""sv, "an HDF5 file", ""},
    {"GGUF\x03\0"sv, ""sv, "a GGUF checkpoint", ""},
    {"SQLite format 3\0"sv, ""sv, "an SQLite database", ""},
    {"OggS"sv, ""sv, "an Ogg recording", ""},
    {"\xFF\xFE"sv, ""sv, "UTF-16 text", "; convert it: iconv -f UTF-16 -t UTF-8"},
    {"\xFE\xFF"sv, ""sv, "UTF-16 text", "; convert it: iconv -f UTF-16 -t UTF-8"},
}};

constexpr const char* kExpected = "expected UTF-8 text (.txt, .jsonl, WikiText or dictd)";

std::string bytes_at(std::ifstream& stream, std::streamoff from, std::ios::seekdir direction, size_t count) {
  std::string bytes(count, '\0');
  stream.clear();
  stream.seekg(from, direction);
  stream.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
  return bytes;
}

size_t count_of_broken(std::string_view text) {
  size_t broken = 0;
  while (!text.empty()) {
    const Utf8Char next = decode_utf8_char(text);
    if (!next.valid) ++broken;
    text.remove_prefix(next.length);
  }
  return broken;
}

}  // namespace

TextFile::TextFile(fs::path path) : path_(std::move(path)) {
  std::error_code ignored;
  if (!fs::is_regular_file(path_, ignored)) return;  // a pipe gives its bytes once
  std::ifstream stream(path_, std::ios::binary);
  if (!stream) return;  // whoever reads it says so
  const std::string start = bytes_at(stream, 0, std::ios::beg, 32);
  for (const BinaryForm& form : kForms) {
    if (!start.starts_with(form.start)) continue;
    const auto length = static_cast<std::streamoff>(form.end.size());
    if (length > 0 && bytes_at(stream, -length, std::ios::end, form.end.size()) != form.end) continue;
    throw InputError("{}: {}, found {}{}", path_.string(), kExpected, form.name, form.way_out);
  }
}

std::string TextFile::repaired(std::string text, size_t line) {
  const auto where = [&] { return line == 0 ? path_.string() : fmt::format("{}:{}", path_.string(), line); };
  if (text.find('\0') != std::string::npos) {
    throw InputError("{}: {}, found a NUL byte: this is no text, or UTF-16", where(), kExpected);
  }
  bytes_ += text.size() + 1;
  if (is_valid_utf8(text)) return text;
  broken_ += count_of_broken(text);
  if (first_line_ == 0) first_line_ = line;
  // A few broken characters are a damaged text; one in ten is something else.
  constexpr size_t kFew = 100;
  if (broken_ > kFew && broken_ > bytes_ / 10) {
    throw InputError("{}: {}, found {} bytes that are no UTF-8 among the first {}; convert it with iconv",
                     where(), kExpected, broken_, bytes_);
  }
  return replace_broken_utf8(text);
}

void TextFile::report() const {
  if (broken_ == 0) return;
  log_warning(
      "{}: {} broken UTF-8 characters{} were replaced by U+FFFD; a Latin-1 file is converted by iconv -f "
      "ISO-8859-1 -t UTF-8",
      path_.string(), broken_, first_line_ == 0 ? "" : fmt::format(" (the first in line {})", first_line_));
}

}  // namespace ropescope
