#include "ropescope/weights/renamed_checkpoint.h"

#include <algorithm>
#include <unordered_map>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

class RenamedCheckpoint : public Checkpoint {
 public:
  RenamedCheckpoint(const Checkpoint& base,
                    const std::function<std::optional<std::string>(const std::string&)>& new_name)
      : base_(base) {
    for (const TensorInfo& info : base.tensors()) {
      const std::optional<std::string> name = new_name(info.name);
      if (!name) continue;
      const auto [place, fresh] = stored_name_.emplace(*name, info.name);
      if (!fresh) {
        throw InputError("{}: tensors \"{}\" and \"{}\" are both {}", info.file, place->second, info.name,
                         *name);
      }
      infos_.push_back(info);
      infos_.back().name = *name;
    }
    std::sort(infos_.begin(), infos_.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  }

  const std::vector<TensorInfo>& tensors() const override { return infos_; }
  std::string container() const override { return base_.container(); }
  std::vector<std::filesystem::path> files() const override { return base_.files(); }

  at::Tensor take(const std::string& name, at::ScalarType dtype) const override {
    return base_.take(stored_name(name), dtype);
  }
  at::Tensor take_rows(const std::string& name, int64_t first, int64_t count,
                       at::ScalarType dtype) const override {
    return base_.take_rows(stored_name(name), first, count, dtype);
  }

  bool gives_rows(const std::string& name) const override { return base_.gives_rows(stored_name(name)); }
  void read(const std::string& name, const at::Tensor& target) const override {
    base_.read(stored_name(name), target);
  }

 private:
  const std::string& stored_name(const std::string& name) const {
    const auto found = stored_name_.find(name);
    return found == stored_name_.end() ? name : found->second;
  }

  const Checkpoint& base_;
  std::vector<TensorInfo> infos_;
  std::unordered_map<std::string, std::string> stored_name_;
};

}  // namespace

std::unique_ptr<Checkpoint> rename_tensors(
    const Checkpoint& base, const std::function<std::optional<std::string>(const std::string&)>& new_name) {
  return std::make_unique<RenamedCheckpoint>(base, new_name);
}

}  // namespace ropescope
