#include "ropescope/io/compare.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include <fmt/ranges.h>

#include <ATen/ops/scalar_tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

constexpr size_t kShownText = 60;

/// Where and how two flat lists differ most.
class Worst {
 public:
  Worst(const CompareOptions& options, CompareEntry& entry) : options_(options), entry_(entry) {}

  void add(int64_t index, double difference, double reference) {
    ++entry_.elements;
    double share = 0.0;
    if (difference != 0) {
      const double allowed = options_.atol + options_.rtol * std::abs(reference);
      share = std::isfinite(difference) && std::isfinite(allowed) ? difference / allowed : kInfinity;
    }
    if (share > 1) ++entry_.outside;
    if (index_ >= 0 && share <= entry_.share) return;
    index_ = index;
    entry_.share = share;
    entry_.difference = difference;
  }
  int64_t index() const { return index_; }

 private:
  const CompareOptions& options_;
  CompareEntry& entry_;
  int64_t index_ = -1;
};

double difference_of(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0.0;
  const double difference = std::abs(a - b);
  return std::isnan(difference) ? kInfinity : difference;
}

double difference_of(int64_t a, int64_t b) {
  return a > b ? static_cast<double>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b))
               : static_cast<double>(static_cast<uint64_t>(b) - static_cast<uint64_t>(a));
}

std::string shortened(const std::string& text) {
  return text.size() <= kShownText ? '"' + text + '"' : '"' + text.substr(0, kShownText) + "...\"";
}

std::string shape_text(const at::Tensor& values) {
  return fmt::format("[{}]", fmt::join(values.sizes(), ", "));
}

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";  // its sign means nothing
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  return fmt::format("{}", value);
}
std::string number_text(int64_t value) { return std::to_string(value); }

template <typename T>
void compare_numbers(const at::Tensor& first, const at::Tensor& second, const CompareOptions& options,
                     CompareEntry& entry) {
  const T* a = first.const_data_ptr<T>();
  const T* b = second.const_data_ptr<T>();
  Worst worst(options, entry);
  for (int64_t i = 0; i < first.numel(); ++i)
    worst.add(i, difference_of(a[i], b[i]), static_cast<double>(b[i]));
  if (worst.index() < 0) return;
  entry.first = number_text(a[worst.index()]);
  entry.second = number_text(b[worst.index()]);
  int64_t rest = worst.index();
  for (int64_t d = first.dim() - 1; d >= 0; --d) {
    entry.place.insert(entry.place.begin(), rest % first.size(d));
    rest /= first.size(d);
  }
}

void compare_tensors(const at::Tensor& first, const at::Tensor& second, const CompareOptions& options,
                     CompareEntry& entry) {
  if (first.sizes() != second.sizes()) {
    entry.status = CompareStatus::kShape;
    entry.first = shape_text(first);
    entry.second = shape_text(second);
    return;
  }
  const bool integers =
      at::isIntegralType(first.scalar_type(), true) && at::isIntegralType(second.scalar_type(), true);
  const auto as = [](const at::Tensor& values, at::ScalarType type) { return values.to(type).contiguous(); };
  if (integers) {
    compare_numbers<int64_t>(as(first, at::kLong), as(second, at::kLong), options, entry);
  } else {
    compare_numbers<double>(as(first, at::kDouble), as(second, at::kDouble), options, entry);
  }
  if (entry.outside > 0) entry.status = CompareStatus::kDiffers;
}

void compare_strings(const std::vector<std::string>& first, const std::vector<std::string>& second,
                     CompareEntry& entry) {
  if (first.size() != second.size()) {
    entry.status = CompareStatus::kShape;
    entry.first = fmt::format("[{}]", first.size());
    entry.second = fmt::format("[{}]", second.size());
    return;
  }
  entry.elements = static_cast<int64_t>(first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    if (first[i] == second[i]) continue;
    if (entry.outside++ > 0) continue;
    entry.status = CompareStatus::kDiffers;
    entry.share = entry.difference = kInfinity;
    entry.place = {static_cast<int64_t>(i)};
    entry.first = shortened(first[i]);
    entry.second = shortened(second[i]);
  }
}

/// Numbers, or else strings.
struct Content {
  std::optional<at::Tensor> numbers;
  std::vector<std::string> strings;
};

Content read_content(const ResultReader& file, const std::string& dataset) {
  if (file.is_string(dataset)) return {std::nullopt, file.read_strings(dataset)};
  return {file.read(dataset), {}};
}

Content content_of(const Attribute& attribute) {
  if (const auto* text = std::get_if<std::string>(&attribute)) return {std::nullopt, {*text}};
  if (const auto* integer = std::get_if<int64_t>(&attribute))
    return {at::scalar_tensor(*integer, at::kLong), {}};
  return {at::scalar_tensor(std::get<double>(attribute), at::kDouble), {}};
}

void compare_contents(const Content& first, const Content& second, const CompareOptions& options,
                      CompareEntry& entry) {
  if (first.numbers.has_value() != second.numbers.has_value()) {
    entry.status = CompareStatus::kKind;
    entry.first = first.numbers ? "numbers" : "strings";
    entry.second = second.numbers ? "numbers" : "strings";
  } else if (first.numbers) {
    compare_tensors(*first.numbers, *second.numbers, options, entry);
  } else {
    compare_strings(first.strings, second.strings, entry);
  }
}

bool is_provenance(const std::string& object) {
  return object == "/provenance" || object.rfind("/provenance/", 0) == 0;
}

/// Names of one file's datasets, and "object@attribute" for attributes below the root.
std::set<std::string> names_of(const ResultReader& file, const CompareOptions& options) {
  std::set<std::string> names;
  const auto wanted = [&](const std::string& object) {
    return !is_provenance(object) && object.rfind(options.only, 0) == 0;
  };
  const auto add_attributes = [&](const std::string& object) {
    for (const std::string& name : file.attribute_names(object)) {
      if (!is_description_attribute(name)) names.insert(object + "@" + name);
    }
  };
  for (const std::string& dataset : file.datasets()) {
    if (!wanted(dataset)) continue;
    names.insert(dataset);
    add_attributes(dataset);
  }
  for (const std::string& group : file.groups()) {
    if (wanted(group)) add_attributes(group);
  }
  return names;
}

bool is_timing(const std::string& name) { return is_timing_dataset(name) || name.ends_with("@seconds"); }

Content read_named(const ResultReader& file, const std::string& name) {
  const size_t at = name.rfind('@');
  if (at == std::string::npos || file.has(name)) return read_content(file, name);
  return content_of(file.attribute(name.substr(0, at), name.substr(at + 1)));
}

}  // namespace

std::string compare_status_name(CompareStatus status) {
  switch (status) {
    case CompareStatus::kEqual:
      return "equal";
    case CompareStatus::kDiffers:
      return "differs";
    case CompareStatus::kOnlyInFirst:
      return "only in first";
    case CompareStatus::kOnlyInSecond:
      return "only in second";
    case CompareStatus::kShape:
      return "shapes differ";
    case CompareStatus::kKind:
      return "kinds differ";
    case CompareStatus::kNotCompared:
      return "not compared";
  }
  return "";
}

bool CompareReport::equal() const {
  return std::all_of(entries.begin(), entries.end(), [](const CompareEntry& entry) {
    return entry.status == CompareStatus::kEqual || entry.status == CompareStatus::kNotCompared;
  });
}

CompareReport compare_results(const ResultReader& first, const ResultReader& second,
                              const CompareOptions& options) {
  if (!(options.rtol >= 0) || !(options.atol >= 0)) {
    throw UsageError("--rtol and --atol: expected numbers >= 0, found {} and {}", options.rtol, options.atol);
  }
  const std::set<std::string> in_first = names_of(first, options), in_second = names_of(second, options);
  std::set<std::string> names = in_first;
  names.insert(in_second.begin(), in_second.end());
  CompareReport report;
  for (const std::string& name : names) {
    CompareEntry entry;
    entry.name = name;
    if (!options.timing && is_timing(name)) {
      entry.status = CompareStatus::kNotCompared;
    } else if (in_second.count(name) == 0) {
      entry.status = CompareStatus::kOnlyInFirst;
    } else if (in_first.count(name) == 0) {
      entry.status = CompareStatus::kOnlyInSecond;
    } else {
      compare_contents(read_named(first, name), read_named(second, name), options, entry);
    }
    report.entries.push_back(std::move(entry));
  }
  return report;
}

}  // namespace ropescope
