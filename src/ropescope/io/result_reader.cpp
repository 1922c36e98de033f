#include "ropescope/core/errors.h"
#include "ropescope/io/dataset_description.h"
#include "ropescope/io/reader_process.h"
#include "ropescope/io/result_file.h"

namespace ropescope {

struct ResultReader::Impl {
  std::filesystem::path path;
  std::unique_ptr<ReaderProcess> process;

  std::vector<std::string> names(const char* member, const std::string& object) const {
    return process->ask(member, object).get<std::vector<std::string>>();
  }
};

ResultReader::ResultReader(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  std::error_code code;
  if (!std::filesystem::exists(path, code)) throw InputError("{}: no such file", path.string());
  if (!std::filesystem::is_regular_file(path, code)) {
    throw InputError("{}: expected an HDF5 file, found something else", path.string());
  }
  impl_->process = std::make_unique<ReaderProcess>(path);
}

ResultReader::~ResultReader() = default;

const std::filesystem::path& ResultReader::path() const noexcept { return impl_->path; }

bool ResultReader::has(const std::string& object) const {
  return impl_->process->ask("has", object).get<bool>();
}

std::vector<std::string> ResultReader::datasets() const { return impl_->names("datasets", ""); }

std::vector<std::string> ResultReader::groups() const { return impl_->names("groups", ""); }

bool ResultReader::is_string(const std::string& dataset) const { return array(dataset).strings; }

ResultReader::Array ResultReader::array(const std::string& dataset) const {
  const Json found = impl_->process->ask("array", dataset);
  return {found["strings"].get<bool>(), static_cast<at::ScalarType>(found["dtype"].get<int>()),
          found["shape"].get<std::vector<int64_t>>()};
}

DatasetDescription ResultReader::description(const std::string& dataset) const {
  const auto text = [&](const char* name) -> std::string {
    if (!has_attribute(dataset, name)) return "";
    const Attribute value = attribute(dataset, name);
    const auto* words = std::get_if<std::string>(&value);
    return words == nullptr ? "" : *words;
  };
  const auto& [dimensions, units, meaning] = kDescriptionAttributes;
  DatasetDescription own{text(dimensions), text(units), text(meaning)};
  if (!own.description.empty()) return own;
  return describe_dataset(dataset).value_or(own);
}

at::Tensor ResultReader::read(const std::string& dataset) const { return impl_->process->read(dataset); }

std::vector<std::string> ResultReader::read_strings(const std::string& dataset) const {
  return impl_->names("read_strings", dataset);
}

std::vector<std::string> ResultReader::attribute_names(const std::string& object) const {
  return impl_->names("attribute_names", object);
}

bool ResultReader::has_attribute(const std::string& object, const std::string& name) const {
  return impl_->process->ask("has_attribute", object, name).get<bool>();
}

Attribute ResultReader::attribute(const std::string& object, const std::string& name) const {
  const Json found = impl_->process->ask("attribute", object, name);
  switch (found[0].get<size_t>()) {
    case 0:
      return found[1].get<std::string>();
    case 1:
      return found[1].get<int64_t>();
    default:
      return found[1].get<double>();
  }
}

}  // namespace ropescope
