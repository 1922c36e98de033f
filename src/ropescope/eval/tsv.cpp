#include "ropescope/eval/tsv.h"

#include "ropescope/core/errors.h"

namespace ropescope::eval {

TsvReader::TsvReader(const std::filesystem::path& path) : name_(path.string()) {
  if (!std::filesystem::is_regular_file(path)) throw InputError("{}: no such file", name_);
  stream_.open(path, std::ios::binary);
  if (!stream_) throw InputError("{}: cannot be read", name_);
  std::string mark(3, '\0');
  stream_.read(mark.data(), 3);
  seek(stream_.gcount() == 3 && mark == "\xEF\xBB\xBF" ? 3 : 0);
}

void TsvReader::seek(uint64_t offset) {
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(offset));
  block_.clear();
  at_ = 0;
  block_offset_ = offset;
  unclosed_quote_ = false;
}

int TsvReader::peek() {
  if (at_ == block_.size()) {
    constexpr size_t kBlockBytes = size_t{1} << 18;
    block_offset_ += block_.size();
    block_.resize(kBlockBytes);
    stream_.read(block_.data(), static_cast<std::streamsize>(kBlockBytes));
    block_.resize(static_cast<size_t>(stream_.gcount()));
    at_ = 0;
    if (stream_.bad()) throw InputError("{}: reading failed", name_);
    if (block_.empty()) return -1;
  }
  return static_cast<unsigned char>(block_[at_]);
}

int TsvReader::get() {
  const int c = peek();
  if (c >= 0) ++at_;
  return c;
}

bool TsvReader::next(std::vector<std::string>& fields) {
  fields.clear();
  // Between records: empty lines.
  while (peek() == '\n' || peek() == '\r') get();
  if (peek() < 0) return false;
  record_offset_ = block_offset_ + at_;
  size_t bytes = 0;
  bool quoted = false, field_start = true;
  std::string field;
  while (true) {
    const int c = get();
    if (++bytes > kMostRecordBytes) {
      throw InputError("{}: the record at byte {} is longer than {} bytes; is a quote left open?", name_,
                       record_offset_, kMostRecordBytes);
    }
    if (quoted) {
      if (c < 0) {
        unclosed_quote_ = true;
        return false;
      }
      if (c != '"') {
        field += static_cast<char>(c);
      } else if (peek() == '"') {
        field += static_cast<char>(get());
      } else {
        quoted = false;
      }
      continue;
    }
    if (c == '"' && field_start) {
      quoted = true;
      field_start = false;
      continue;
    }
    const bool carriage_end = c == '\r' && (peek() == '\n' || peek() < 0);
    if (carriage_end) continue;  // the newline, or the end, follows
    if (c == '\t' || c == '\n' || c < 0) {
      fields.push_back(std::move(field));
      field.clear();
      field_start = true;
      if (c != '\t') return true;
      continue;
    }
    field += static_cast<char>(c);
    field_start = false;
  }
}

}  // namespace ropescope::eval
