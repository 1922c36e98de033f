#include "ropescope/weights/npy.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/ranges.h>

#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

constexpr std::string_view kNpyMark = "\x93NUMPY";
/// More than any header of numbers needs; the format itself allows 4 GiB.
constexpr size_t kLongestNpyHeader = 65536;

struct NpyHeader {
  std::string type;
  bool fortran = false;
  std::vector<int64_t> shape;
};

/// Reads the dictionary strictly: the three keys that the format has, each once, in any order.
class NpyHeaderReader {
 public:
  NpyHeaderReader(std::string_view text, std::string what) : rest_(text), what_(std::move(what)) {}

  NpyHeader read() {
    NpyHeader header;
    bool has_type = false, has_order = false, has_shape = false;
    take("{");
    while (!starts("}")) {
      const std::string key = quoted();
      take(":");
      if (key == "descr" && !has_type) {
        has_type = true;
        if (!starts("'") && !starts("\"")) {
          throw InputError("{}: expected an array of one kind of number, found a record type", what_);
        }
        header.type = quoted();
      } else if (key == "fortran_order" && !has_order) {
        has_order = true;
        header.fortran = starts("True");
        take(header.fortran ? "True" : "False");
      } else if (key == "shape" && !has_shape) {
        has_shape = true;
        header.shape = sizes();
      } else {
        throw InputError("{}: expected descr, fortran_order and shape once each, found '{}'", what_,
                         key.substr(0, 40));
      }
      if (!starts("}")) take(",");
    }
    take("}");
    skip();
    if (!rest_.empty() || !has_type || !has_order || !has_shape) {
      throw InputError("{}: expected a dictionary of descr, fortran_order and shape and nothing else", what_);
    }
    return header;
  }

 private:
  void skip() {
    const size_t next = rest_.find_first_not_of(" \n");
    rest_.remove_prefix(next == std::string_view::npos ? rest_.size() : next);
  }

  bool starts(std::string_view word) {
    skip();
    return rest_.substr(0, word.size()) == word;
  }

  void take(std::string_view word) {
    if (!starts(word)) throw InputError("{}: expected \"{}\"{}", what_, word, found());
    rest_.remove_prefix(word.size());
  }

  std::string found() const {
    if (rest_.empty()) return ", found the end";
    std::string text;
    for (const char c : rest_.substr(0, 20)) text += c >= ' ' && c < 127 ? c : '?';
    return fmt::format(", found \"{}\"", text);
  }

  std::string quoted() {
    skip();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    const size_t end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : std::string_view::npos;
    if (end == std::string_view::npos) throw InputError("{}: expected a text in quotes{}", what_, found());
    const std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }

  std::vector<int64_t> sizes() {
    std::vector<int64_t> shape;
    take("(");
    while (!starts(")")) {
      const size_t end = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
      const std::optional<int64_t> size = parse_whole_number(rest_.substr(0, end));
      if (!size) throw InputError("{}: shape: expected whole numbers of at least 0{}", what_, found());
      shape.push_back(*size);
      rest_.remove_prefix(end);
      // One dimension is written "(5,)"; "(5)" would be a number.
      if (!starts(")") || shape.size() == 1) take(",");
      if (shape.size() > kMaxDimensions) {
        throw InputError("{}: shape: expected at most {} dimensions", what_, kMaxDimensions);
      }
    }
    take(")");
    return shape;
  }

  std::string_view rest_;
  std::string what_;
};

template <typename Stored, typename Number>
void copy_elements(const std::byte* from, int64_t count, Number* to, const std::string& what) {
  for (int64_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, from + static_cast<size_t>(i) * sizeof(Stored), sizeof(Stored));
    if constexpr (std::is_same_v<Stored, uint64_t>) {
      if (value > static_cast<uint64_t>(INT64_MAX)) {
        throw InputError("{}: expected numbers below 2^63, found {}", what, value);
      }
    }
    to[i] = static_cast<Number>(value);  // NOLINT(bugprone-signed-char-misuse): int8 are numbers, with a sign
  }
}

/// A stored type, and how its elements become int64 or float64.
struct NpyType {
  const char* name;
  size_t bytes;
  bool whole;
  void (*whole_numbers)(const std::byte*, int64_t, int64_t*, const std::string&);
  void (*numbers)(const std::byte*, int64_t, double*, const std::string&);
};

template <typename Stored>
constexpr NpyType whole_type(const char* name) {
  return {name, sizeof(Stored), true, &copy_elements<Stored, int64_t>, nullptr};
}
template <typename Stored>
constexpr NpyType fraction_type(const char* name) {
  return {name, sizeof(Stored), false, nullptr, &copy_elements<Stored, double>};
}

const NpyType* find_npy_type(const std::string& name) {
  static constexpr NpyType kTypes[] = {
      whole_type<uint8_t>("|b1"),     whole_type<int8_t>("|i1"),   whole_type<uint8_t>("|u1"),
      whole_type<int16_t>("<i2"),     whole_type<uint16_t>("<u2"), whole_type<int32_t>("<i4"),
      whole_type<uint32_t>("<u4"),    whole_type<int64_t>("<i8"),  whole_type<uint64_t>("<u8"),
      fraction_type<at::Half>("<f2"), fraction_type<float>("<f4"), fraction_type<double>("<f8")};
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const NpyType& type) { return name == type.name; });
  return found == std::end(kTypes) ? nullptr : found;
}

[[noreturn]] void refuse_type(const std::string& type, const std::string& what) {
  const bool objects = type.find('O') != std::string::npos;
  const bool reversed = !type.empty() && type.front() == '>';
  throw InputError(
      "{}: expected little-endian whole numbers, fractions or booleans, found {} (\"{}\"){}", what,
      objects    ? "Python objects"
      : reversed ? "big-endian numbers"
                 : "another type",
      type.substr(0, 20),
      objects ? ". Try: np.save of an array of one shape and dtype int64" : ". Try: array.astype('<i8')");
}

}  // namespace

bool looks_like_npy(std::span<const std::byte> bytes) {
  return first_bytes(bytes, kNpyMark.size()) == kNpyMark;
}

NpyArray parse_npy(const FileBytes& file) {
  const std::string what = file.path.string();
  const std::span<const std::byte> bytes = file.bytes;
  const auto byte = [&](size_t i) { return std::to_integer<size_t>(bytes[i]); };
  if (!looks_like_npy(bytes) || bytes.size() < 10) {
    throw InputError("{}: expected a .npy file, found {}", what,
                     looks_like_npy(bytes) ? "one that is cut short" : "another form");
  }
  const size_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor != 0) {
    throw InputError("{}: expected version 1.0, 2.0 or 3.0 of the .npy form, found {}.{}", what, major,
                     minor);
  }
  const size_t begin = major == 1 ? 10 : 12;
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1) {
    if (bytes.size() < begin) throw InputError("{}: expected a header's length, found the end", what);
    length |= byte(10) << 16 | byte(11) << 24;
  }
  if (length > kLongestNpyHeader || length > bytes.size() - begin) {
    throw InputError("{}: expected a header of at most {} bytes, found {}; the file may be cut short", what,
                     std::min(kLongestNpyHeader, bytes.size() - begin), length);
  }
  const NpyHeader header =
      NpyHeaderReader(first_bytes(bytes.subspan(begin), length), what + ": header").read();
  const NpyType* type = find_npy_type(header.type);
  if (type == nullptr) refuse_type(header.type, what);
  const std::span<const std::byte> data = bytes.subspan(begin + length);
  const std::optional<int64_t> count = count_elements(header.shape);
  if (count && *count == 0) throw InputError("{}: expected at least one number, found none", what);
  uint64_t expected = 0;
  if (!count || __builtin_mul_overflow(static_cast<uint64_t>(*count), type->bytes, &expected) ||
      expected != data.size()) {
    throw InputError("{}: expected the {} bytes of data to hold shape [{}] of {}, which takes {}", what,
                     data.size(), fmt::join(header.shape, ", "), header.type,
                     count && expected > 0 ? fmt::format("{}", expected) : "another number");
  }
  std::vector<int64_t> stored = header.shape;
  if (header.fortran) std::reverse(stored.begin(), stored.end());
  at::Tensor values = at::empty(stored, type->whole ? at::kLong : at::kDouble);
  if (type->whole) {
    type->whole_numbers(data.data(), *count, values.mutable_data_ptr<int64_t>(), what);
  } else {
    type->numbers(data.data(), *count, values.mutable_data_ptr<double>(), what);
  }
  if (header.fortran && stored.size() > 1) {
    std::vector<int64_t> order;
    for (size_t d = stored.size(); d-- > 0;) order.push_back(static_cast<int64_t>(d));
    values = values.permute(order).contiguous();
  }
  return {header.type, values};
}

}  // namespace ropescope
