#include "tests/support/golden.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>

#include <ATen/ops/abs.h>
#include <ATen/ops/argmax.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope::testing {

namespace fs = std::filesystem;

Json golden_json(const std::string& relative) { return read_json_file(golden_path(relative)); }

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(parse_json(line, "a line of JSON"));
  return lines;
}

std::map<std::string, at::Tensor> golden_tensors(const std::string& relative) {
  const auto checkpoint = open_checkpoint(golden_path(relative));
  std::map<std::string, at::Tensor> tensors;
  for (const TensorInfo& info : checkpoint->tensors()) {
    const bool real = info.dtype[0] == 'F' || info.dtype == "BF16";
    tensors[info.name] = checkpoint->take(info.name, real ? at::kFloat : at::kLong);
  }
  return tensors;
}

::testing::AssertionResult all_close(const at::Tensor& actual, const at::Tensor& expected, double atol,
                                     double rtol) {
  if (!actual.defined()) return ::testing::AssertionFailure() << "the tensor is undefined";
  if (actual.sizes() != expected.sizes()) {
    return ::testing::AssertionFailure()
           << fmt::format("shapes differ: expected [{}], found [{}]", fmt::join(expected.sizes(), ", "),
                          fmt::join(actual.sizes(), ", "));
  }
  if (actual.numel() == 0) return ::testing::AssertionSuccess();
  const at::Tensor a = actual.detach().cpu().to(at::kDouble).contiguous().view({-1});
  const at::Tensor e = expected.detach().cpu().to(at::kDouble).contiguous().view({-1});
  const double* a_data = a.const_data_ptr<double>();
  const double* e_data = e.const_data_ptr<double>();
  int64_t worst = 0;
  double worst_share = -1.0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double allowed = atol + rtol * std::abs(e_data[i]);
    const double difference = std::abs(a_data[i] - e_data[i]);
    double share = difference == 0 ? 0 : difference / allowed;
    if (std::isnan(a_data[i]) || std::isnan(e_data[i])) share = INFINITY;
    if (share > worst_share) {
      worst_share = share;
      worst = i;
    }
  }
  if (worst_share <= 1.0) return ::testing::AssertionSuccess();
  std::vector<int64_t> place;
  int64_t rest = worst;
  for (int64_t d = actual.dim() - 1; d >= 0; --d) {
    place.insert(place.begin(), rest % actual.size(d));
    rest /= actual.size(d);
  }
  return ::testing::AssertionFailure() << fmt::format(
             "at [{}]: expected {:.9g}, found {:.9g}: {:.3g} times the tolerance (atol {:g}, rtol {:g})",
             fmt::join(place, ", "), e_data[worst], a_data[worst], worst_share, atol, rtol);
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "ropescope-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw EnvironmentError("no temporary folder can be made");
  folder_ = pattern;
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}
std::string TemporaryFolder::path(const std::string& name) const { return folder_ + "/" + name; }
std::string TemporaryFolder::write(const std::string& name, const std::string& content) const {
  fs::create_directories(fs::path(path(name)).parent_path());
  std::ofstream(path(name), std::ios::binary) << content;
  return path(name);
}

CommandResult run_ropescope(const std::string& arguments) {
  const TemporaryFolder folder;
  const std::string out = folder.path("out");
  const std::string err = folder.path("err");
  const std::string line =
      fmt::format("'{}' {} >'{}' 2>'{}' </dev/null", ropescope_path(), arguments, out, err);
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
}

void write_safetensors(const std::string& path, const std::map<std::string, at::Tensor>& tensors) {
  Json header = Json::object();
  int64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto bytes = static_cast<int64_t>(tensor.nbytes());
    header[name] = {{"dtype", tensor.scalar_type() == at::kLong ? "I64" : "F32"},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream stream(path, std::ios::binary);
  stream.write(reinterpret_cast<const char*>(&length), 8);
  stream << text;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor dense = tensor.contiguous();
    stream.write(static_cast<const char*>(dense.const_data_ptr()), static_cast<int64_t>(dense.nbytes()));
  }
}

}  // namespace ropescope::testing
