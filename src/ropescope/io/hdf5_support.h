// What the reader and the writer of result files share: HDF5 identifiers that close themselves, and HDF5's
// errors as text. We use the C API: the C++ one lacks file locking and conversion callbacks, and throws types
// of its own.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <hdf5.h>

#include <ATen/core/Tensor.h>

namespace ropescope::hdf5 {

/// Owns one HDF5 identifier. A negative identifier (HDF5's failure value) is empty.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() { reset(); }

  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }
  /// Closes now; false if HDF5 could not (for a file: what was buffered is lost).
  bool reset() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Keeps HDF5 from printing its error stack while it lives (the setting is one of the calling thread's).
class Silence {
 public:
  Silence() {
    // After a full disk HDF5 1.10 keeps a half-closed file, and its exit handler would crash on it. We close
    // all that we open, so that handler has nothing to do. Takes effect only as the first call to HDF5.
    static const herr_t no_exit_handler = H5dont_atexit();
    static_cast<void>(no_exit_handler);
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~Silence() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// HDF5's reason for the last failure on this thread, one line: the innermost entry of its error stack.
std::string last_error();

/// The variable-length UTF-8 string type, which h5py reads as str.
Handle string_type();

/// "/a/b/c" -> "/a", "/a/b", "/a/b/c"; empty for "/".
std::vector<std::string> path_prefixes(const std::string& path);

}  // namespace ropescope::hdf5
