#include "../peak_rate/peak_rate.h"

#include <chrono>
#include <string>

#include "arrays.h"
#include "register.h"

namespace mammofast::bindings {
namespace {

Arithmetic arithmetic_of(const std::string& name) {
    if (name == "fp32") return Arithmetic::fp32;
    if (name == "bf16") return Arithmetic::bf16;
    throw py::value_error("precision: got '" + name + "', expected 'fp32' or 'bf16'");
}

// Multiply-adds per second of the calling thread, over at least that many seconds; None where the core has none.
py::object peak_rate(const std::string& precision, double seconds) {
    const Arithmetic arithmetic = arithmetic_of(precision);
    if (!has_arithmetic(arithmetic)) return py::none();
    using clock = std::chrono::steady_clock;
    constexpr std::int64_t kRounds = 100'000;
    std::int64_t done = 0;
    double elapsed = 0;
    {
        py::gil_scoped_release release;
        const auto start = clock::now();
        do {
            done += multiply_add(arithmetic, kRounds);
            elapsed = std::chrono::duration<double>(clock::now() - start).count();
        } while (elapsed < seconds);
    }
    return py::float_(static_cast<double>(done) / elapsed);
}

}  // namespace

void register_peak_rate(py::module_& module) {
    module.def("peak_rate", &peak_rate, py::arg("precision"), py::arg("seconds"),
               "Multiply-adds per second of one core, None where it has no such arithmetic.");
}

}  // namespace mammofast::bindings
