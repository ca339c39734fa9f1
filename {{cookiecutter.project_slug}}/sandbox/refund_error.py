"""Why a refund is not accepted: each reason once, with what APIv3 answers for it.

Other protocols have tables of their own from the same reasons to their own codes.
"""

from .wire import TOO_FREQUENT, UNPUBLISHED, RefusalError

REASONS = {
    "unknown_order": (404, "RESOURCE_NOT_EXISTS", "订单不存在"),
    "unpaid": (404, "RESOURCE_NOT_EXISTS", "原订单不存在"),
    "differs": (400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致，请核实后再试"),
    "overdue": (400, "INVALID_REQUEST", "订单已超过可退款的最大期限"),
    "exceeds": (400, "INVALID_REQUEST", "申请退款金额超过订单可退金额"),
    "nothing_left": (400, "INVALID_REQUEST", "订单已全额退款"),
    "too_many": (400, "INVALID_REQUEST", "同一笔订单最多支持50次部分退款"),
    "too_soon": (429, "FREQUENCY_LIMITED", "同一笔订单两次退款至少间隔1分钟"),
    # asked for in the fault menu; the first five mean later, with the same number
    "not_enough": (403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起"),
    "order_not_ready": (400, "INVALID_REQUEST", "订单处理中，暂时无法退款，请稍后再试"),
    "frequency_limited": (429, "FREQUENCY_LIMITED", "频率过高，请稍后重试"),
    "invalid_req_too_much": (429, "FREQUENCY_LIMITED", "无效请求过多，请稍后重试"),
    "bizerr_need_retry": (500, "SYSTEM_ERROR", "系统超时，请使用相同参数重新调用"),
    "user_account_abnormal": (403, "USER_ACCOUNT_ABNORMAL", "用户账户异常"),
}


class RefundError(RefusalError):
    """Raised when a refund is not accepted; `reason` is a key of REASONS, or a number
    that only another protocol knows."""

    def __init__(self, reason: str) -> None:
        status, code, message = REASONS.get(reason, REASONS["order_not_ready"])
        number = TOO_FREQUENT if status == 429 else UNPUBLISHED
        super().__init__(status, code, message, number=number)
        self.reason = reason
