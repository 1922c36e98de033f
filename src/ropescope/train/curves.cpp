#include "ropescope/train/curves.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/durable_file.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

const std::array<std::pair<const char*, double Curves::Point::*>, 4> kColumns = {
    {{"/train/loss", &Curves::Point::loss},
     {"/train/learning_rate", &Curves::Point::learning_rate},
     {"/train/grad_norm", &Curves::Point::gradient_norm},
     {"/train/tokens_per_second", &Curves::Point::tokens_per_second}}};

}  // namespace

Curves::Curves(std::filesystem::path file, Provenance provenance)
    : file_(std::move(file)), provenance_(std::move(provenance)) {}

void Curves::resume(int64_t step) {
  points_.clear();
  std::error_code code;
  if (!std::filesystem::exists(file_, code)) return;
  const ResultReader reader(file_);
  const at::Tensor steps = reader.read("/train/step").to(at::kLong).contiguous();
  std::vector<at::Tensor> columns;
  for (const auto& [name, member] : kColumns) {
    columns.push_back(reader.read(name).to(at::kDouble).contiguous());
    if (columns.back().numel() != steps.numel()) {
      throw InputError("{}: {} has another length than /train/step", file_.string(), name);
    }
  }
  for (int64_t i = 0; i < steps.numel() && steps.const_data_ptr<int64_t>()[i] <= step; ++i) {
    Point point;
    point.step = steps.const_data_ptr<int64_t>()[i];
    for (size_t c = 0; c < kColumns.size(); ++c) {
      point.*(kColumns[c].second) = columns[c].const_data_ptr<double>()[i];
    }
    points_.push_back(point);
  }
}

void Curves::write() const {
  ResultWriter writer(file_, provenance_, /*force=*/true);
  std::vector<int64_t> steps;
  for (const Point& point : points_) steps.push_back(point.step);
  writer.write("/train/step", at::tensor(steps, at::kLong));
  for (const auto& [name, member] : kColumns) {
    std::vector<double> values;
    for (const Point& point : points_) values.push_back(point.*member);
    writer.write(name, at::tensor(values, at::kDouble));
  }
  writer.commit();
  write_table();
}

void Curves::write_table() const {
  std::string text = "step,loss,learning_rate,grad_norm,tokens_per_second\n";
  for (const Point& point : points_) {
    text += fmt::format("{},{:.9g},{:.9g},{:.9g},{:.6g}\n", point.step, point.loss, point.learning_rate,
                        point.gradient_norm, point.tokens_per_second);
  }
  replace_text_file(std::filesystem::path(file_).replace_extension(".csv"), text);
}

}  // namespace ropescope
