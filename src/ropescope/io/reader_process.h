// A child process that reads one HDF5 file for this one. A result file is untrusted input, and HDF5 1.10 ends the
// process on some damaged files; here it ends the child, and the caller gets an InputError.
//
// The child is forked when the file is opened and answers one request at a time over a socket, in CBOR; the numbers
// of a dataset come as shared memory that the child has read them into, so that they are not copied. It stops when
// its reader is destroyed or this process ends.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"

namespace ropescope {

class ReaderProcess {
 public:
  /// Forks, and opens the file. Throws InputError if it is not HDF5, EnvironmentError if no process can be made.
  explicit ReaderProcess(const std::filesystem::path& path);
  ~ReaderProcess();
  ReaderProcess(const ReaderProcess&) = delete;
  ReaderProcess& operator=(const ReaderProcess&) = delete;

  /// Calls the member of Hdf5Reader of this name; its InputErrors arrive as InputErrors, and so do a crash and a
  /// read that does not end. `attribute` answers [kind, value].
  Json ask(const std::string& member, const std::string& object, const std::string& name = "") const;
  /// The values of a numeric dataset.
  at::Tensor read(const std::string& dataset) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ropescope
