// The extension mammofast.ops._cuda_kernels: one register_* per op. Nothing in it runs before a driver is found.
#include "register.h"

PYBIND11_MODULE(_cuda_kernels, module) {
    using namespace mammofast::bindings;
    module.doc() = "CUDA kernels behind mammofast.ops and mammofast.ops.device.";
    register_arrays(module);
    register_confidence_mask(module);
    register_contrast_windows(module);
    register_detection_inputs(module);
    register_segmentation_inputs(module);
    register_fuse_boxes(module);
    register_label_mask(module);
    register_paste_masks(module);
    register_roi_align(module);
    register_nms(module);
    register_decode_yolo(module);
    register_collect_boxes(module);
    register_tiles(module);
    register_components(module);
}
