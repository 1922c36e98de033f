// Result files: HDF5 with provenance, written under a temporary name and renamed when complete; readable with
// h5py. Root attributes: format, format_version, command, created_utc, ropescope_version, ropescope_commit,
// libtorch_version, device, dtype, seed, and for every input its name, size and SHA-256 (/provenance/inputs).
// Attributes of every dataset that a command writes: dimensions, units, description.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/io/dataset_description.h"

namespace ropescope {

struct InputFile {
  std::string name;  ///< base name
  uint64_t bytes = 0;
  std::string sha256;
};

/// What a run was made of.
struct Provenance {
  std::string command;  ///< full command line
  std::string device = "cpu";
  std::string dtype = "float32";
  uint64_t seed = 0;
  std::vector<InputFile> inputs;

  /// Adds name, size and SHA-256 of a file, or of every file in `paths`.
  void add_input(const std::filesystem::path& path);
};

using Attribute = std::variant<std::string, int64_t, double>;

class ResultWriter {
 public:
  /// Throws UsageError if `path` exists and `force` is not set; EnvironmentError if the folder cannot be
  /// written.
  ResultWriter(const std::filesystem::path& path, const Provenance& provenance, bool force);
  ~ResultWriter();
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;

  /// `dataset`: "/decay/mean"; groups are made on the way. float16 and bfloat16 are stored as float32; bool
  /// as uint8. Large datasets are chunked and compressed where that saves a quarter or more.
  void write(const std::string& dataset, const at::Tensor& tensor);
  void write(const std::string& dataset, const std::vector<std::string>& strings);
  /// A float32 dataset [parts, ...] that is filled part by part, so that only one lies in memory: `part` of
  /// write_part is [...], placed at `index` of the first axis. Parts never written are 0. Compressed as in
  /// `write`, part by part, where the first part written says that it pays.
  void create(const std::string& dataset, const std::vector<int64_t>& shape);
  void write_part(const std::string& dataset, int64_t index, const at::Tensor& part);
  /// On a group or dataset that exists already ("/" is the root; a group is made if it is missing).
  void attribute(const std::string& object, const std::string& name, const Attribute& value);

  /// Describes every dataset (dataset_description.h), closes and renames into place. Without it nothing appears. Returns the bytes written.
  uint64_t commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A result file is untrusted input: a child process reads it (reader_process.h), so that no damage to the file can
/// end this one. Every member throws InputError where the child breaks off.
class ResultReader {
 public:
  /// Throws InputError if it is not an HDF5 file. A file that others wrote (no `format` attribute) is
  /// accepted. EnvironmentError: no process can be made.
  explicit ResultReader(const std::filesystem::path& path);
  ~ResultReader();

  bool has(const std::string& object) const;
  /// Paths of all datasets, sorted.
  std::vector<std::string> datasets() const;
  /// Paths of all groups below the root, sorted.
  std::vector<std::string> groups() const;
  /// Whether a dataset holds strings. Throws InputError if it is missing.
  bool is_string(const std::string& dataset) const;
  struct Array {
    bool strings;
    at::ScalarType dtype;  ///< of numbers
    std::vector<int64_t> shape;
  };
  /// Without reading it. Throws InputError if it is missing, or neither numeric nor strings.
  Array array(const std::string& dataset) const;
  /// The file's own words, else those of describe_dataset; all empty for neither.
  DatasetDescription description(const std::string& dataset) const;
  /// CPU tensor in the stored type's nearest ATen dtype. Throws InputError if missing or not numeric.
  at::Tensor read(const std::string& dataset) const;
  std::vector<std::string> read_strings(const std::string& dataset) const;
  std::vector<std::string> attribute_names(const std::string& object) const;
  /// Throws InputError if it is missing.
  Attribute attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;
  const std::filesystem::path& path() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ropescope
