// Learning curves of a run as an HDF5 result file that is whole at any moment: it is written anew beside the
// old one and takes its place.
// The same as text lies beside it, with the extension .csv.
//   /train/{step int64, loss, learning_rate, grad_norm, tokens_per_second float64} [steps]
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "ropescope/io/result_file.h"

namespace ropescope {

class Curves {
 public:
  struct Point {
    int64_t step = 0;
    double loss = 0.0, learning_rate = 0.0, gradient_norm = 0.0, tokens_per_second = 0.0;
  };

  Curves(std::filesystem::path file, Provenance provenance);

  /// Takes over what an earlier run wrote, up to `step`. Nothing if there is no file. Throws InputError.
  void resume(int64_t step);
  void add(const Point& point) { points_.push_back(point); }
  void write() const;
  const std::vector<Point>& points() const { return points_; }

 private:
  void write_table() const;

  std::filesystem::path file_;
  Provenance provenance_;
  std::vector<Point> points_;
};

}  // namespace ropescope
