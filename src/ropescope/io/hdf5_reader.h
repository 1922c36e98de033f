// Reads HDF5 in this very process. HDF5 1.10 can crash on a damaged file, so only the child of reader_process.h
// does; everything else reads through ResultReader.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/io/result_file.h"

namespace ropescope {

/// What a dataset holds. bool (h5py's enumeration) lies as int8 in the buffer of read_into.
struct Hdf5Array {
  bool strings = false;
  at::ScalarType dtype = at::kFloat;  ///< nearest ATen type of a numeric dataset
  std::vector<int64_t> shape;
  uint64_t bytes = 0;  ///< of a numeric dataset in that type
};

/// The members of ResultReader; they throw the same InputErrors. No ATen operator runs here: they start
/// threads, which a forked child has none of.
class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::filesystem::path& path);
  ~Hdf5Reader();

  bool has(const std::string& object) const;
  std::vector<std::string> datasets() const;
  std::vector<std::string> groups() const;
  Hdf5Array array(const std::string& dataset) const;
  /// Throws InputError where the stored bytes cannot fill the dataset's shape.
  void check_size(const std::string& dataset) const;
  /// `values` has room for array(dataset).bytes.
  void read_into(const std::string& dataset, void* values) const;
  std::vector<std::string> read_strings(const std::string& dataset) const;
  std::vector<std::string> attribute_names(const std::string& object) const;
  Attribute attribute(const std::string& object, const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ropescope
