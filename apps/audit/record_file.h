// A file of recorded tensors in any of four forms: .npy (one array), .safetensors (tensors by name), JSON (an object of
// nested lists by name, or nested lists alone), a result file of `ropescope trace` (what lies below /trace).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope::app::audit {

class RecordFile {
 public:
  /// The form is chosen by content. Throws InputError.
  explicit RecordFile(std::string path);

  const std::string& path() const { return path_; }
  /// float64, of any shape; undefined where the file has no such name.
  at::Tensor find(const std::string& name) const;
  /// The tensor of that name, or the only one of a file that has one. Throws InputError.
  at::Tensor take(const std::string& name) const;
  /// The same with whole numbers, int64.
  at::Tensor find_whole(const std::string& name) const;
  at::Tensor take_whole(const std::string& name) const;
  /// Whether the tensor is stored in 16 bits.
  bool half_type(const std::string& name) const;

 private:
  std::string path_;
  at::Tensor only_;                            // .npy, or JSON lists
  std::shared_ptr<const Checkpoint> tensors_;  // .safetensors
  std::shared_ptr<const ResultReader> trace_;  // .h5
  Json object_;                                // JSON
};

}  // namespace ropescope::app::audit
