#include "ropescope/probe/profile.h"

#include <algorithm>

#include <ATen/ops/arange.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/fft_ifft.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/real.h>
#include <ATen/ops/round.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/core/device_branch.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr int64_t kChunkBytes = int64_t{4}
                                << 20;  // of padded channels that are transformed at once: near the caches
constexpr int64_t kDeviceChunkBytes = int64_t{256} << 20;
constexpr int64_t kTasks = 8;  // at least, where channels allow; fixed, so that sums are too

/// Smallest 2^a 3^b 5^c >= n: transforms of such lengths are fast.
int64_t fast_length(int64_t n) {
  int64_t best = 1;
  while (best < n) best *= 2;
  for (int64_t five = 1; five < best; five *= 5) {
    for (int64_t three = five; three < best; three *= 3) {
      int64_t length = three;
      while (length < n) length *= 2;
      best = std::min(best, length);
    }
  }
  return best;
}

/// Spectra of some channels of one key/value head and its query heads.
struct Group {
  at::Tensor q_GTD;  // [G, n, D]
  at::Tensor k_TD;   // [n, D]
  int64_t length;    // of the transforms
};

/// Channels first..first+count-1 of the group, zero-padded: [G + 1, count, length], the key last.
at::Tensor spectra(const Group& group, int64_t first, int64_t count) {
  const int64_t queries = group.q_GTD.size(0);
  const int64_t n = group.q_GTD.size(1);
  const int64_t half = group.q_GTD.size(2) / 2;
  const at::Tensor padded =
      at::zeros({queries + 1, count, group.length}, group.k_TD.options().dtype(at::kComplexDouble));
  const at::Tensor parts = at::view_as_real(padded).narrow(2, 0, n);
  for (int64_t part = 0; part < 2; ++part) {
    const auto channels = [&](const at::Tensor& x) {
      return x.narrow(-1, part * half + first, count).transpose(-1, -2);
    };
    const at::Tensor target = parts.select(-1, part);
    target.narrow(0, 0, queries).copy_(channels(group.q_GTD));
    target.select(0, queries).copy_(channels(group.k_TD));
  }
  return at::fft_fft(padded);
}

/// sum[g] += sum over channels of q[g] conj(k). On a CPU plain loops: tensor operators would pass over memory four
/// times.
void add_cross_spectrum(const at::Tensor& spectra, at::Tensor& sum) {
  const int64_t queries = spectra.size(0) - 1;
  if (!own_cpu_kernels(spectra)) {
    sum.add_(spectra.narrow(0, 0, queries).mul(spectra.select(0, queries).conj()).sum(1));
    return;
  }
  const int64_t channels = spectra.size(1);
  const int64_t length = spectra.size(2);
  const auto* values = reinterpret_cast<const double*>(spectra.const_data_ptr<c10::complex<double>>());
  auto* out = reinterpret_cast<double*>(sum.data_ptr<c10::complex<double>>());
  for (int64_t g = 0; g < queries; ++g) {
    double* target = out + 2 * g * length;
    for (int64_t c = 0; c < channels; ++c) {
      const double* q = values + 2 * (g * channels + c) * length;
      const double* k = values + 2 * (queries * channels + c) * length;
      for (int64_t i = 0; i < 2 * length; i += 2) {
        target[i] += q[i] * k[i] + q[i + 1] * k[i + 1];
        target[i + 1] += q[i + 1] * k[i] - q[i] * k[i + 1];
      }
    }
  }
}

/// Up to so many tokens all products of a head are fewer numbers than transforms take (bench_micro).
constexpr int64_t kDirectTokens = 1024;
constexpr int64_t kDirectRows = 128;  // queries at a time, so that their products stay in the caches

/// sums[m] += <q_i, k_{i-m}> for all i of one head. With the keys in reverse order the products of a query, from the key at
/// its own place on, lie in the order of m.
void add_direct_sums(const at::Tensor& q_TD, const at::Tensor& reversed_k_TD, double* sums) {
  const int64_t n = q_TD.size(0);
  for (int64_t first = 0; first < n; first += kDirectRows) {
    const int64_t rows = std::min(kDirectRows, n - first), last = first + rows - 1;
    const at::Tensor products =
        at::mm(q_TD.narrow(0, first, rows), reversed_k_TD.narrow(0, n - 1 - last, last + 1).t());
    const double* row = products.const_data_ptr<double>();
    for (int64_t i = first; i <= last; ++i, row += last + 1) {
      const double* own = row + (last - i);
      for (int64_t m = 0; m <= i; ++m) sums[m] += own[m];
    }
  }
}

at::Tensor direct_inner_products(const at::Tensor& q_HTD, const at::Tensor& k_KTD) {
  const int64_t heads = q_HTD.size(0), group = heads / k_KTD.size(0);
  const at::Tensor q = q_HTD.to(at::kDouble), reversed_k = k_KTD.to(at::kDouble).flip(1);
  at::Tensor sums = at::zeros({heads, q.size(1)}, at::kDouble);
  auto* out = sums.mutable_data_ptr<double>();
  parallel_for_each(heads, [&](int64_t head) {
    const c10::InferenceMode no_gradients;  // a thread's own setting
    add_direct_sums(q.select(0, head), reversed_k.select(0, head / group), out + head * q.size(1));
  });
  return sums;
}

}  // namespace

at::Tensor lagged_inner_products(const at::Tensor& q_HTD, const at::Tensor& k_KTD) {
  if (q_HTD.dim() != 3 || k_KTD.dim() != 3 || k_KTD.numel() == 0 || q_HTD.size(1) != k_KTD.size(1) ||
      q_HTD.size(2) != k_KTD.size(2) || k_KTD.size(2) % 2 != 0 || q_HTD.size(0) % k_KTD.size(0) != 0) {
    throw InternalError("lagged_inner_products: q and k do not fit together");
  }
  const int64_t kv_heads = k_KTD.size(0);
  const int64_t queries = q_HTD.size(0) / kv_heads;
  const int64_t n = k_KTD.size(1);
  const int64_t half = k_KTD.size(2) / 2;
  const int64_t length = fast_length(2 * n - 1);
  const bool on_cpu = own_cpu_kernels(k_KTD);
  if (on_cpu && n <= kDirectTokens) return direct_inner_products(q_HTD, k_KTD);
  // One task is a share of the channels of one key/value head. Each has its own sum; they are added in order.
  const int64_t shares = on_cpu ? std::clamp<int64_t>((kTasks + kv_heads - 1) / kv_heads, 1, half) : 1;
  const int64_t chunk_bytes = on_cpu ? kChunkBytes : kDeviceChunkBytes;
  const int64_t chunk = std::clamp<int64_t>(chunk_bytes / ((queries + 1) * length * 16), 1, half);
  const at::Tensor sums =
      at::zeros({kv_heads, shares, queries, length}, k_KTD.options().dtype(at::kComplexDouble));
  const auto run_task = [&](int64_t task) {
    const c10::InferenceMode no_gradients;  // a thread's own setting
    const int64_t head = task / shares;
    const int64_t share = task % shares;
    const Group group{q_HTD.narrow(0, head * queries, queries), k_KTD.select(0, head), length};
    at::Tensor sum = sums.select(0, head).select(0, share);
    const int64_t end = (share + 1) * half / shares;
    for (int64_t c = share * half / shares; c < end; c += chunk) {
      add_cross_spectrum(spectra(group, c, std::min(chunk, end - c)), sum);
    }
  };
  if (on_cpu) {
    parallel_for_each(kv_heads * shares, run_task);
  } else {
    for (int64_t task = 0; task < kv_heads; ++task) run_task(task);
  }
  const at::Tensor lagged = at::real(at::fft_ifft(sums.sum(1))).narrow(-1, 0, n);
  return lagged.reshape({kv_heads * queries, n}).to(at::kCPU);
}

ProfileAccumulator::ProfileAccumulator(int64_t layers, int64_t heads, int64_t longest)
    : count_(at::zeros({longest}, at::kDouble)),
      count_squared_(at::zeros({longest}, at::kDouble)),
      texts_(at::zeros({longest}, at::kDouble)),
      sum_(at::zeros({layers, heads, longest}, at::kDouble)),
      sum_squared_(at::zeros({layers, heads, longest}, at::kDouble)),
      cross_(at::zeros({layers, heads, longest}, at::kDouble)),
      measured_(at::zeros({layers, heads}, at::kBool)) {}

at::Tensor pairs_at_distances(int64_t tokens) { return tokens - at::arange(tokens, at::kDouble); }

at::Tensor pairs_at_distances(const at::Tensor& queries, const at::Tensor& keys) {
  const auto two_channels = [](const at::Tensor& among) {
    const at::Tensor ones = among.to(at::kCPU, at::kDouble);
    return at::stack({ones, at::zeros_like(ones)}, -1).unsqueeze(0);
  };
  return lagged_inner_products(two_channels(queries), two_channels(keys)).squeeze(0).round();
}

void ProfileAccumulator::add_text(const at::Tensor& pairs) {
  const int64_t tokens = pairs.size(0);
  count_.narrow(0, 0, tokens).add_(pairs);
  count_squared_.narrow(0, 0, tokens).add_(pairs * pairs);
  texts_.narrow(0, 0, tokens).add_(pairs > 0);
}

void ProfileAccumulator::add_sums(int64_t layer, const std::vector<int64_t>& heads, const at::Tensor& sums,
                                  const at::Tensor& pairs) {
  const int64_t tokens = sums.size(1);
  for (size_t i = 0; i < heads.size(); ++i) {
    const at::Tensor row = sums.select(0, static_cast<int64_t>(i));
    const auto place = [&](const at::Tensor& of) {
      return of.select(0, layer).select(0, heads[i]).narrow(0, 0, tokens);
    };
    place(sum_).add_(row);
    place(sum_squared_).addcmul_(row, row);
    place(cross_).addcmul_(row, pairs);
    measured_.select(0, layer).select(0, heads[i]).fill_(true);
  }
}

ProfileSet ProfileAccumulator::result() const {
  ProfileSet profile;
  profile.distance = at::arange(count_.size(0), at::kLong);
  profile.count = count_.to(at::kLong);
  const at::Tensor unmeasured = measured_.logical_not().unsqueeze(-1);
  profile.mean = (sum_ / count_).masked_fill(unmeasured, kNan);
  const at::Tensor squares =
      sum_squared_ - 2.0 * profile.mean * cross_ + profile.mean * profile.mean * count_squared_;
  const at::Tensor variance = squares.clamp_min(0.0) * (texts_ / (texts_ - 1.0)) / (count_ * count_);
  profile.standard_error = variance.sqrt().masked_fill(texts_ < 1.5, kNan);
  return profile;
}

}  // namespace ropescope
