// Writing safetensors files (their form: safetensors.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ropescope {

/// Writes tensors in the order of their names and waits until they are on the disk. Types that safetensors
/// knows are kept. Throws EnvironmentError if the file cannot be written whole (disk full); what is there is
/// then not a valid file.
void write_safetensors_file(const std::filesystem::path& path,
                            const std::map<std::string, at::Tensor>& tensors);

/// The same for tensors that are only there one at a time: `plan` tells names, shapes and types (its tensors may be
/// without numbers), `take` is called for each name in their order.
void write_safetensors_file(const std::filesystem::path& path, const std::map<std::string, at::Tensor>& plan,
                            const std::function<at::Tensor(const std::string& name)>& take);

/// The same for tensors that come one after the other and are not known before: names and shapes go into room that is left
/// for them in front, about kHeaderBytes a tensor.
class SafetensorsAppender {
 public:
  static constexpr int64_t kHeaderBytes = 160;

  /// `most`: so many tensors at the most. Throws UsageError for more than a header may hold, before the file is made.
  SafetensorsAppender(const std::filesystem::path& path, int64_t most);
  ~SafetensorsAppender();
  SafetensorsAppender(const SafetensorsAppender&) = delete;
  SafetensorsAppender& operator=(const SafetensorsAppender&) = delete;

  void add(const std::string& name, const at::Tensor& tensor);
  /// Until then the file is no valid one.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ropescope
