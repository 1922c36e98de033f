// ropescope dump: what a result file holds, as text.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/core/nearest_name.h"
#include "ropescope/io/result_file.h"

#include "command.h"
#include "text_table.h"

namespace ropescope::app {

namespace dump {

namespace {

struct DumpFlags {
  std::vector<std::string> input;
  bool wide = false;

  void bind(Flags& flags) {
    flags.group("What to show");
    flags
        .add(
            "input", input,
            "result file, and what of it: nothing lists its datasets; a dataset (/decay/mean) shows its numbers as CSV; a group or / its attributes; /decay@sign one attribute")
        .positional();
    flags.add("wide", wide, "one row for each value of all axes but the last, which becomes columns");
  }
};

/// Shortest decimal form that reads back as the same number.
std::string number_text(double value) { return std::isnan(value) ? "nan" : fmt::format("{}", value); }

/// A dataset as cells, each in text that reads back exactly, and in JSON.
struct Cells {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::string> text;
  std::vector<Json> json;
};

std::string dtype_name(const ResultReader::Array& array) {
  if (array.strings) return "text";
  switch (array.dtype) {
    case at::kDouble:
      return "float64";
    case at::kFloat:
      return "float32";
    case at::kLong:
      return "int64";
    case at::kInt:
      return "int32";
    case at::kShort:
      return "int16";
    case at::kChar:
      return "int8";
    case at::kByte:
      return "uint8";
    default:
      return "bool";
  }
}

template <typename T>
void add_floats(const at::Tensor& values, Cells& cells) {
  const at::Tensor flat = values.contiguous();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const T value = flat.const_data_ptr<T>()[i];
    cells.text.push_back(std::isnan(value) ? "nan" : fmt::format("{}", value));
    // JSON has neither NaN nor infinity.
    cells.json.push_back(std::isfinite(value) ? Json(value)
                         : std::isnan(value)  ? Json(nullptr)
                                              : Json(cells.text.back()));
  }
}

Cells read_cells(const ResultReader& file, const std::string& dataset) {
  const ResultReader::Array array = file.array(dataset);
  Cells cells{dtype_name(array), array.shape, {}, {}};
  if (array.strings) {
    cells.text = file.read_strings(dataset);
    cells.json.assign(cells.text.begin(), cells.text.end());
    return cells;
  }
  const at::Tensor values = file.read(dataset);
  if (values.scalar_type() == at::kDouble) {
    add_floats<double>(values, cells);
  } else if (values.scalar_type() == at::kFloat) {
    add_floats<float>(values, cells);
  } else {
    const at::Tensor integers = values.to(at::kLong).contiguous();
    for (int64_t i = 0; i < integers.numel(); ++i) {
      cells.json.emplace_back(integers.const_data_ptr<int64_t>()[i]);
      cells.text.push_back(std::to_string(integers.const_data_ptr<int64_t>()[i]));
    }
  }
  return cells;
}

/// One axis of a dataset: its name, and the value at every place on it.
struct AxisValues {
  std::string name;
  std::vector<std::string> text;
  std::vector<Json> json;
  std::string from;  ///< dataset that the values stand in; empty: places, from 0
};

/// The dataset beside `dataset`, or in a group above, that holds the values of this axis.
std::string coordinates_of(const ResultReader& file, const std::string& dataset, const std::string& axis,
                           int64_t length) {
  const std::vector<std::string> datasets = file.datasets();
  for (size_t end = dataset.rfind('/'); end != std::string::npos;
       end = end == 0 ? std::string::npos : dataset.rfind('/', end - 1)) {
    for (const char* ending : {"", "_index", "s"}) {
      const std::string candidate = dataset.substr(0, end + 1) + axis + ending;
      if (candidate == dataset || std::ranges::find(datasets, candidate) == datasets.end()) continue;
      const bool fits = file.array(candidate).shape == std::vector<int64_t>{length};
      if (fits && file.description(candidate).axes() == std::vector<std::string>{axis}) return candidate;
    }
  }
  return "";
}

std::vector<AxisValues> axes_of(const ResultReader& file, const std::string& dataset,
                                const std::vector<int64_t>& shape) {
  std::vector<std::string> names = file.description(dataset).axes();
  const bool named = names.size() == shape.size();
  std::vector<AxisValues> axes;
  for (size_t d = 0; d < shape.size(); ++d) {
    AxisValues axis;
    axis.name = named ? names[d] : fmt::format("axis_{}", d);
    if (named) axis.from = coordinates_of(file, dataset, axis.name, shape[d]);
    if (!axis.from.empty()) {
      Cells values = read_cells(file, axis.from);
      axis.text = std::move(values.text);
      axis.json = std::move(values.json);
    }
    for (int64_t i = 0; axis.from.empty() && i < shape[d]; ++i) {
      axis.text.push_back(std::to_string(i));
      axis.json.emplace_back(i);
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

/// [i, j, ...] of a place in the flat list.
std::vector<int64_t> place_of(int64_t flat, const std::vector<int64_t>& shape) {
  std::vector<int64_t> place(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    place[d] = flat % shape[d];
    flat /= shape[d];
  }
  return place;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

void print_csv(const std::string& dataset, const Cells& cells, const std::vector<AxisValues>& axes,
               bool wide) {
  const size_t kept = axes.size() - (wide && !axes.empty() ? 1 : 0);
  std::vector<std::string> header;
  for (size_t d = 0; d < kept; ++d) header.push_back(axes[d].name);
  if (kept < axes.size()) {
    for (const std::string& value : axes.back().text) header.push_back(axes.back().name + "=" + value);
  } else {
    const std::string name = last_part(dataset);
    header.push_back(std::ranges::find(header, name) == header.end() ? name : name + "_value");
  }
  fmt::print("{}", csv_line(header));
  const int64_t columns = kept < axes.size() ? cells.shape.back() : 1;
  const auto count = static_cast<int64_t>(cells.text.size());
  for (int64_t i = 0; columns > 0 && i < count; i += columns) {
    const std::vector<int64_t> place = place_of(i, cells.shape);
    std::vector<std::string> row;
    for (size_t d = 0; d < kept; ++d) row.push_back(axes[d].text[static_cast<size_t>(place[d])]);
    row.insert(row.end(), cells.text.begin() + i, cells.text.begin() + i + columns);
    fmt::print("{}", csv_line(row));
  }
}

/// values[i][j]... of a flat list.
Json nested(const std::vector<Json>& values, const std::vector<int64_t>& shape, size_t depth, size_t& next) {
  if (depth == shape.size()) return values[next++];
  Json list = Json::array();
  for (int64_t i = 0; i < shape[depth]; ++i) list.push_back(nested(values, shape, depth + 1, next));
  return list;
}

void print_object(const Json& object) {
  fmt::print("{}\n", object.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void print_dataset(const ResultReader& file, const std::string& dataset, bool wide, bool json) {
  const Cells cells = read_cells(file, dataset);
  const std::vector<AxisValues> axes = axes_of(file, dataset, cells.shape);
  if (!json) return print_csv(dataset, cells, axes, wide);
  const DatasetDescription description = file.description(dataset);
  Json dimensions = Json::array(), coordinates = Json::object();
  for (const AxisValues& axis : axes) {
    dimensions.push_back(axis.name);
    if (!axis.from.empty()) coordinates[axis.name] = axis.json;
  }
  size_t next = 0;
  print_object({{"dataset", dataset},
                {"dtype", cells.dtype},
                {"shape", cells.shape},
                {"dimensions", dimensions},
                {"units", description.units},
                {"description", description.description},
                {"coordinates", coordinates},
                {"values", nested(cells.json, cells.shape, 0, next)}});
}

Json attribute_json(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>) {
          if (!std::isfinite(value)) return number_text(value);
        }
        return value;
      },
      attribute);
}

std::string attribute_text(const Attribute& attribute) {
  if (const auto* text = std::get_if<std::string>(&attribute)) return *text;
  if (const auto* integer = std::get_if<int64_t>(&attribute)) return std::to_string(*integer);
  return number_text(std::get<double>(attribute));
}

void print_attributes(const ResultReader& file, const std::string& object, bool json) {
  Json all = Json::object();
  if (!json) fmt::print("attribute,value\n");
  for (const std::string& name : file.attribute_names(object)) {
    const Attribute value = file.attribute(object, name);
    if (json) {
      all[name] = attribute_json(value);
    } else {
      fmt::print("{}", csv_line({name, attribute_text(value)}));
    }
  }
  if (json) print_object(all);
}

void print_list(const ResultReader& file, const CommonSettings& settings) {
  TextTable table({"dataset", "shape", "dtype", "units", "description"});
  Json all = Json::array();
  for (const std::string& dataset : file.datasets()) {
    const ResultReader::Array array = file.array(dataset);
    const DatasetDescription description = file.description(dataset);
    const std::vector<std::string> names = description.axes();
    std::vector<std::string> shape;
    for (size_t d = 0; d < array.shape.size(); ++d) {
      const std::string size = std::to_string(array.shape[d]);
      shape.push_back(names.size() == array.shape.size() ? names[d] + " " + size : size);
    }
    if (settings.json) {
      all.push_back({{"dataset", dataset},
                     {"shape", array.shape},
                     {"dtype", dtype_name(array)},
                     {"dimensions", names},
                     {"units", description.units},
                     {"description", description.description}});
    }
    table.add({dataset, fmt::format("[{}]", fmt::join(shape, ", ")), dtype_name(array), description.units,
               description.description});
  }
  if (settings.json) {
    print_object(all);
  } else {
    fmt::print("{}", table.text(settings.csv ? TableStyle::kCsv : TableStyle::kAligned));
  }
}

/// "/decay@sign" -> "/decay" and "sign"; a name with @ of its own is a dataset or group first.
bool print_attribute(const ResultReader& file, const std::string& path, bool json) {
  const size_t at = path.rfind('@');
  if (at == std::string::npos || file.has(path)) return false;
  const std::string object = at == 0 ? "/" : path.substr(0, at), name = path.substr(at + 1);
  const Attribute value = file.attribute(object, name);
  if (json) {
    print_object({{name, attribute_json(value)}});
  } else {
    fmt::print("{}\n", attribute_text(value));
  }
  return true;
}

int run(const DumpFlags& flags, const Invocation& invocation) {
  if (flags.input.empty() || flags.input.size() > 2) {
    throw UsageError("expected a result file, and at most one path in it; see --help");
  }
  const CommonSettings& settings = invocation.settings;
  const ResultReader file(flags.input[0]);
  if (flags.input.size() == 1) {
    if (flags.wide) throw UsageError("--wide: expected a dataset beside the file, for example /decay/mean");
    print_list(file, settings);
    return 0;
  }
  std::string path = flags.input[1];
  if (path.front() != '/') path = "/" + path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (print_attribute(file, path, settings.json)) return 0;
  const std::vector<std::string> datasets = file.datasets();
  if (std::ranges::find(datasets, path) != datasets.end()) {
    if (flags.wide && settings.json)
      throw UsageError("--wide: expected without --json, which nests its values");
    print_dataset(file, path, flags.wide, settings.json);
    return 0;
  }
  if (!file.has(path)) {
    const std::string near = nearest_name(path, datasets);
    throw UsageError("{}: no dataset or group {}{}; `ropescope dump {}` lists what it holds", flags.input[0],
                     path, near.empty() ? "" : fmt::format("; did you mean {}?", near), flags.input[0]);
  }
  print_attributes(file, path, settings.json);
  return 0;
}

}  // namespace

}  // namespace dump

extern const Command kDump;
const Command kDump = make_command<dump::DumpFlags>(
    "dump", "Shows what a result file holds: a list, or the numbers of a dataset as CSV or JSON.",
    "ropescope dump decay.h5 /decay/mean > mean.csv", kTables, dump::run);

}  // namespace ropescope::app
