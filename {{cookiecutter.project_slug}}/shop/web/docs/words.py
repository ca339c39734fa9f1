"""What /docs says about each call, field and state, in English and Chinese.

A sentence is a pair of both; `code` and [links](#anchor) are marked as in Markdown. What stands
here is shown by the page, and in English by openapi.json. The guide, which is longer, is in
guide.en.html and guide.zh.html; errors are in docs/errors.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Sentence = tuple[str, str]
LANGUAGES = ("en", "zh")


def say(sentence: Sentence, language: str) -> str:
    """Return one side of a pair."""
    return sentence[LANGUAGES.index(language)]


@dataclass(frozen=True)
class Chapter:
    """Calls that belong together; `tag` is its name in openapi.json."""

    tag: str
    title: Sentence
    calls: Sequence[str]


CHAPTERS = (
    Chapter(
        "login",
        ("Login calls", "登录接口"),
        (
            "miniprogram_session",
            "oauth_start",
            "oauth_callback",
            "guest_session",
            "me",
            "end_session",
        ),
    ),
    Chapter("shop", ("The shop and its goods", "店铺与商品"), ("show_shop", "list_products")),
    Chapter(
        "orders",
        ("Orders", "订单"),
        ("place_order", "list_orders", "get_order", "cancel_order", "hand_over", "claim"),
    ),
    Chapter("payments", ("Payments", "支付"), ("start_payment", "collect")),
    Chapter(
        "admin",
        ("For the operator", "运营管理"),
        (
            "refund_order",
            "all_orders",
            "all_payments",
            "all_refunds",
            "query_payment",
            "close_held_payment",
            "all_notifications",
            "replay_notification",
            "all_differences",
        ),
    ),
    Chapter(
        "notifications",
        ("Notifications from WeChat", "微信支付通知"),
        ("notify_wechat_payment", "notify_wechat_refund", "notify_wechat_combine"),
    ),
    Chapter(
        "operations",
        ("Running it", "运维"),
        ("healthz", "readyz", "metrics", "verify_domain"),
    ),
)

#: operationId -> what it does in a few words, and what to know about it
CALLS: Mapping[str, tuple[Sentence, Sentence]] = {
    "miniprogram_session": (
        ("Log in from the mini program", "小程序登录"),
        (
            "Exchanges the code of `wx.login` for a token of this shop. Send the token as"
            " `Authorization: Bearer …` with every other call; it holds for seven days. A code can"
            " be used once, within five minutes. The openid stays on the server.",
            "用 `wx.login` 拿到的 code 换本商城的 token。之后每个接口都带上"
            " `Authorization: Bearer …`，七天有效。code 五分钟内有效，只能用一次。"
            "openid 只留在服务器上。",
        ),
    ),
    "oauth_start": (
        ("Log in from a page inside WeChat", "公众号网页登录"),
        (
            "Open this address in the browser, do not fetch it: it leads to WeChat's page and comes"
            " back to `return_to` with a session cookie. `return_to` is a path of this shop, such"
            " as `/?order=1`; anything else becomes `/`.",
            "让浏览器直接打开这个地址，不要用 fetch：它会跳到微信的授权页，再带着会话 cookie"
            " 回到 `return_to`。`return_to` 是本商城的路径，例如 `/?order=1`，写别的一律回到 `/`。",
        ),
    ),
    "oauth_callback": (
        ("Where WeChat sends the browser back", "微信授权后的回调"),
        (
            "WeChat opens it, you never call it. It checks that the same browser began the login,"
            " sets the session cookie and goes on to `return_to`.",
            "由微信打开，你不用调用。它确认是同一个浏览器发起的登录，写入会话 cookie，再跳到"
            " `return_to`。",
        ),
    ),
    "guest_session": (
        ("Begin as a guest", "访客登录"),
        (
            "Makes a buyer without an openid, for the scenes `h5`, `native` and `app`. The token"
            " comes in the answer, and for browsers as a cookie, too. A guest who never orders is"
            " forgotten after eight days.",
            "建一个没有 openid 的买家，可用于 `h5`、`native`、`app` 场景。token 在应答里，同时也会"
            "写入浏览器的 cookie。从未下单的访客八天后删除。",
        ),
    ),
    "me": (
        ("Who is logged in", "我是谁"),
        (
            "Names the buyer, and by which apps they are known: `miniprogram`, `official_account`."
            " A guest has none. Use it to see whether a token still holds.",
            "返回买家编号，以及在哪些应用里登录过：`miniprogram`、`official_account`；访客为空。"
            "也可以用它检查 token 是否还有效。",
        ),
    ),
    "end_session": (
        ("Log out", "退出登录"),
        (
            "Clears the session cookie. A token that was given out holds until it expires: throw it"
            " away on your side.",
            "清除会话 cookie。已发出的 token 在过期前仍然有效，请在自己这边丢弃。",
        ),
    ),
    "show_shop": (
        ("What a page asks first", "页面启动信息"),
        (
            "The shop's name, whether the caller is logged in, and where a buyer may type an amount"
            " to pay.",
            "店名、是否已登录、在哪些场景里可以由买家输入金额。",
        ),
    ),
    "list_products": (
        ("What is for sale", "商品列表"),
        (
            "Prices are in fen and are only shown from here: when an order is placed, the shop"
            " takes"
            " its own price again.",
            "价格单位是分，仅供显示：下单时商城按自己的价格重新计算。",
        ),
    ),
    "place_order": (
        ("Place an order", "下单"),
        (
            "Send only `sku` and `quantity`; the shop knows the prices. The order is `OPEN` until"
            " `expires_at` (30 minutes unless configured). The same `Idempotency-Key` with the same"
            " body again gives the same order with 200 instead of 201, so that a repeat after a"
            " timeout is safe.",
            "只传 `sku` 和 `quantity`，价格由商城决定。订单在 `expires_at` 之前是 `OPEN`（默认 30"
            " 分钟）。"
            "用同一个 `Idempotency-Key` 原样重发，得到同一个订单，状态码是 200 而不是 201，"
            "所以超时后可以放心重试。",
        ),
    ),
    "list_orders": (
        ("My orders", "我的订单列表"),
        (
            "The caller's own orders, newest first, 20 a page. Pass `next` of one answer as `after`"
            " to get the following page; `null` is the end.",
            "当前买家自己的订单，新的在前，每页 20 个。把应答里的 `next` 作为 `after`"
            " 传回来就是下一页，"
            "`null` 表示没有了。",
        ),
    ),
    "get_order": (
        ("Read an order", "查订单"),
        (
            "After the cashier closed, ask here whether it is paid: what the page was told is no"
            " proof. With `refresh=1` the shop asks WeChat first, at most once in three seconds;"
            " ask"
            " every two to three seconds until `state` is `PAID`.",
            "收银台关闭后到这里确认是否已付：前端得到的结果不能当凭据。带 `refresh=1`"
            " 时商城会先问微信，"
            "三秒内最多问一次；每两三秒查一次，直到 `state` 变成 `PAID`。",
        ),
    ),
    "cancel_order": (
        ("Cancel an order", "取消订单"),
        (
            "200 and `CLOSED`: it is closed, nobody can pay it any more. 202 and `CLOSING`: WeChat"
            " does not let go of the payment yet (the buyer is typing the password), the shop goes"
            " on by itself.",
            "200 且 `CLOSED`：已关闭，谁也付不了。202 且 `CLOSING`：微信暂时关不掉这笔支付"
            "（例如买家正在输密码），商城会自己继续处理。",
        ),
    ),
    "hand_over": (
        ("Hand an order to the mini program", "把订单交给小程序"),
        (
            "For an order that was placed by somebody else than who pays, mostly on a web page,"
            " and is"
            " to be paid in the mini program. Open the mini program with `path`; there the token is"
            " claimed with [POST /api/handover](#claim).",
            "下单和付款的不是同一个登录时用，多半是网页上下的单要到小程序里付。用 `path`"
            " 打开小程序，再用"
            " [POST /api/handover](#claim) 领取。",
        ),
    ),
    "claim": (
        ("Claim an order", "领取订单"),
        (
            "The buyer who calls may see and pay the order from now on, too. A token works once,"
            " within ten minutes; the order's number alone claims nothing.",
            "领取之后，当前买家也能看到并支付这个订单。token 十分钟内有效，只能用一次；"
            "只有订单号领不到。",
        ),
    ),
    "start_payment": (
        ("Start a payment", "发起支付"),
        (
            "Name the [scene](#pay) in which the buyer stands; the answer has what opens the"
            " cashier"
            " there: `invoke`, `h5_url` or `code_url`. 201 is a new payment, 200 the live one"
            " again,"
            " signed anew. Another scene closes the live payment at WeChat first. WeChat tells the"
            " shop when it is paid; ask [the order](#get_order).",
            "用 `scene` 指明买家所在的[场景](#pay)，应答里有打开收银台要用的东西：`invoke`、"
            "`h5_url` 或"
            " `code_url`。201 是新的支付单，200 是原来那笔重新签名。换场景时先到微信关掉原来那笔。"
            "付款成功由微信通知商城，前端[查订单](#get_order)即可。",
        ),
    ),
    "collect": (
        ("Pay a typed amount", "按输入的金额收款"),
        (
            "For service providers with the amount widget: places an order of the amount and starts"
            " to pay it, in one call. The amount is a text in yuan, such as `12.34`; a JSON number"
            " is refused. `GET /api/shop` tells where it can be used.",
            "服务商配合金额控件使用：一次完成下单和发起支付。金额是以元为单位的文本，如 `12.34`，"
            "JSON 数字会被拒绝。哪些场景可用见 `GET /api/shop`。",
        ),
    ),
    "refund_order": (
        ("Refund", "退款"),
        (
            "Gives back a part or all of what was paid. 202: the refund is written down and on its"
            " way; it is done when `state` is `SUCCESS`, which WeChat tells the shop. Refunds of"
            " one"
            " payment are at least a minute apart and at most 50: further ones wait as `PENDING`"
            " and"
            " leave by themselves. The same key and body again give the same refund with 200.",
            "退一部分或全部。202 表示退款已记下、正在办理，`state` 变成 `SUCCESS` 才算到账，"
            "由微信通知商城。"
            "同一笔支付的退款至少间隔一分钟，最多 50 次，排队的是 `PENDING`，会自动发出。"
            "用同一个 key 原样重发，得到同一笔退款和 200。",
        ),
    ),
    "all_orders": (
        ("All orders", "全部订单"),
        (
            "Newest first, 50 a page; `state` narrows.",
            "新的在前，每页 50 个，可按 `state` 筛选。",
        ),
    ),
    "all_payments": (
        ("All payments", "全部支付单"),
        (
            "Newest first, 50 a page; of a combined payment one line for each merchant. Those in"
            " `HELD` wait for a person.",
            "新的在前，每页 50 个；合单支付按商户各占一行。`HELD` 的要人来处理。",
        ),
    ),
    "all_refunds": (
        ("All refunds", "全部退款"),
        (
            "Newest first, 50 a page. `trouble` says why one still waits; those in `ABNORMAL` wait"
            " for a person.",
            "新的在前，每页 50 个。`trouble` 说明为什么还在等；`ABNORMAL` 的要人来处理。",
        ),
    ),
    "query_payment": (
        ("Ask WeChat about a payment", "向微信查单"),
        (
            "Asks now, and records the signed answer as a notification would be. Any number of a"
            " combined payment stands for the whole.",
            "立刻查询，并像收到通知一样记账。合单支付里任意一个单号都代表整笔。",
        ),
    ),
    "close_held_payment": (
        ("Close a held payment", "关闭挂起的支付单"),
        (
            "For a payment in `HELD` alone: WeChat is asked first, then it is closed with your"
            " `reason` in the history.",
            "只用于 `HELD` 的支付单：先问微信，再关闭，`reason` 记入历史。",
        ),
    ),
    "all_notifications": (
        ("All notifications", "全部通知"),
        (
            "Newest first, 50 a page; `outcome` narrows. `REFUSED`, `UNMATCHED` and `UNDECRYPTABLE`"
            " are worth a look.",
            "新的在前，每页 50 个，可按 `outcome` 筛选。`REFUSED`、`UNMATCHED`、`UNDECRYPTABLE`"
            " 值得看一眼。",
        ),
    ),
    "replay_notification": (
        ("Decide again about a notification", "重放通知"),
        (
            "For one whose outcome is open (`UNMATCHED`, `UNDECRYPTABLE`), for example after the"
            " APIv3 key was mended. One that was decided stays as it is.",
            "用于还没有定论的通知（`UNMATCHED`、`UNDECRYPTABLE`），例如改正 APIv3 密钥之后。"
            "已有定论的不会改变。",
        ),
    ),
    "all_differences": (
        ("Differences to WeChat's bill", "对账差异"),
        (
            "What `python -m shop bill` found, newest first, 50 a page; `date` narrows.",
            "`python -m shop bill` 发现的差异，新的在前，每页 50 条，可按 `date` 筛选。",
        ),
    ),
    "notify_wechat_payment": (
        ("A payment succeeded", "支付成功通知"),
        (
            "WeChat calls it; its signature and every party are checked. 204 means that the books"
            " are written. Anything else makes WeChat send it again.",
            "由微信调用，验签并逐方核对。204 表示账已记好，其他应答都会让微信再次发送。",
        ),
    ),
    "notify_wechat_refund": (
        ("A refund ended", "退款结果通知"),
        (
            "WeChat calls it when a refund succeeded or failed, also for one that was made in the"
            " merchant platform.",
            "退款成功或失败时由微信调用，在商户平台发起的退款也会通知。",
        ),
    ),
    "notify_wechat_combine": (
        ("A combined payment succeeded", "合单支付成功通知"),
        (
            "The same for an order whose goods belong to several merchants.",
            "订单里的商品属于多个商户时的支付成功通知。",
        ),
    ),
    "healthz": (
        ("Is it alive?", "存活检查"),
        ("200 as long as the process answers.", "进程在应答就是 200。"),
    ),
    "readyz": (
        ("Can it take money?", "就绪检查"),
        (
            "200 when database, migrations and keys are ready; otherwise 503, with the reason.",
            "数据库、迁移、密钥都就绪时是 200，否则 503 并说明原因。",
        ),
    ),
    "metrics": (
        ("Prometheus metrics", "Prometheus 指标"),
        ("Text for Prometheus, with the admin token.", "供 Prometheus 采集的文本，要带管理令牌。"),
    ),
    "verify_domain": (
        ("The file that proves the domain", "域名校验文件"),
        (
            "WeChat's console gives you the file when you enter a domain; put it into `pages/`.",
            "在微信后台填写域名时会给一个校验文件，放进 `pages/` 即可。",
        ),
    ),
}
#: any other notification, of a channel of your choice
NOTIFICATION: tuple[Sentence, Sentence] = (
    ("A notification", "通知"),
    (
        "The channel calls it; its proof is checked before anything is recorded.",
        "由渠道调用，先验证再记账。",
    ),
)

#: a shape -> what it is
SHAPES: Mapping[str, Sentence] = {
    "NewOrder": ("A new order.", "新订单。"),
    "NewOrderItem": ("One line of a new order.", "新订单的一行。"),
    "NewPayment": ("Which payment to start.", "要发起的支付。"),
    "NewCollect": ("An amount that the buyer typed.", "买家输入的金额。"),
    "Token": ("What the mini program was opened with.", "小程序启动参数里的令牌。"),
    "NewRefund": ("Money to give back.", "要退的款。"),
    "Reason": ("Why an operator decides.", "运营人员的理由。"),
    "LoginCode": ("What `wx.login` gave.", "`wx.login` 得到的 code。"),
    "Session": ("A token for `Authorization: Bearer`.", "用于 `Authorization: Bearer` 的 token。"),
    "IdentityView": ("One way in which a buyer is known.", "买家的一个身份。"),
    "Me": ("Who is logged in.", "当前登录的买家。"),
    "ProductView": ("One thing for sale.", "一件商品。"),
    "ProductsView": ("Everything for sale.", "全部商品。"),
    "CollectView": ("Where and how much a buyer may type.", "可输入金额的场景和范围。"),
    "ShopView": ("What a page asks first.", "页面启动信息。"),
    "ItemView": ("One line of an order.", "订单的一行。"),
    "PaymentView": ("One attempt to pay.", "一次支付。"),
    "RefundView": ("One return of money, as its buyer sees it.", "一笔退款（买家视角）。"),
    "OrderView": ("An order with its payments and refunds.", "订单，连同支付和退款。"),
    "OrderPage": ("A page of orders.", "一页订单。"),
    "StartedView": (
        "A payment and what opens its cashier: one of `invoke`, `h5_url`, `code_url`.",
        "支付单和调起收银台的参数：`invoke`、`h5_url`、`code_url` 三者之一。",
    ),
    "Collected": ("An order of a typed amount, and its cashier.", "按输入金额下的单和调起参数。"),
    "HandedOver": ("What claims an order, once.", "领取订单的凭据，只能用一次。"),
    "Failure": (
        "Every error; the optional fields are there where they help.",
        "所有错误都是这个样子，可选字段只在有用时出现。",
    ),
    "AdminPayment": ("A payment as an operator sees it.", "一笔支付（运营视角）。"),
    "AdminPayments": ("A page of payments.", "一页支付单。"),
    "AdminRefund": ("A refund as an operator sees it.", "一笔退款（运营视角）。"),
    "AdminRefunds": ("A page of refunds.", "一页退款。"),
    "DifferenceView": (
        "A line where bill and books disagree.",
        "账单和账本不一致的一条。",
    ),
    "DifferencePage": ("A page of differences.", "一页差异。"),
    "AdminNotification": ("A notification as it was stored.", "一条收到的通知。"),
    "AdminNotifications": ("A page of notifications.", "一页通知。"),
    "OutcomeView": ("What became of a replayed notification.", "重放的结果。"),
}

_ORDER_STATE = (
    "`OPEN`: can be paid; `PAID`; `CLOSING`: no new payment, being closed; `CLOSED`; `REFUNDED`:"
    " all of it given back",
    "`OPEN` 待付；`PAID` 已付；`CLOSING` 关闭中，不能再发起支付；`CLOSED` 已关闭；`REFUNDED`"
    " 已全部退款",
)
_PAYMENT_STATE = (
    "`NEW`: being ordered at WeChat; `OPEN`: can be paid; `PAID`; `CLOSED`; `HELD`: waits for a"
    " person",
    "`NEW` 正在向微信下单；`OPEN` 可以付款；`PAID` 已付；`CLOSED` 已关闭；`HELD` 挂起，等人处理",
)
_REFUND_STATE = (
    "`PENDING`: waits to be sent; `PROCESSING`: at WeChat; `SUCCESS`: given back; `CLOSED`,"
    " `REJECTED`: not given back; `ABNORMAL`: the buyer's account cannot take it, a person decides",
    "`PENDING` 待发出；`PROCESSING` 微信处理中；`SUCCESS` 已退；`CLOSED`、`REJECTED` 没退成；"
    "`ABNORMAL` 买家账户收不了，等人处理",
)
_OUTCOME = (
    "`APPLIED`: recorded; `DUPLICATE`: known already; `REFUSED`: does not fit the books;"
    " `IGNORED`: another product; `UNMATCHED`: no such number; `UNDECRYPTABLE`: wrong APIv3 key",
    "`APPLIED` 已记账；`DUPLICATE` 重复；`REFUSED` 和账对不上；`IGNORED` 是别的产品；`UNMATCHED`"
    " 单号不认识；`UNDECRYPTABLE` APIv3 密钥不对",
)

#: `Shape.field`, or `field` wherever it has the same meaning
FIELDS: Mapping[str, Sentence] = {
    "code": ("what `wx.login` gave", "`wx.login` 得到的 code"),
    "token": ("the session's token", "会话 token"),
    "expires_in": ("seconds until it expires", "多少秒后过期"),
    "buyer": ("the buyer's id here", "买家编号"),
    "identities": ("by which apps the buyer is known", "在哪些应用里登录过"),
    "IdentityView.kind": (
        "`miniprogram` or `official_account`",
        "`miniprogram` 或 `official_account`",
    ),
    "sku": ("the product's code", "商品编码"),
    "name": ("what buyers read", "显示给买家的名称"),
    "ShopView.name": ("the shop's name", "店名"),
    "price_fen": ("price of one, in fen", "单价，单位分"),
    "kind": (
        "`physical`, `service` or `virtual`",
        "`physical` 实物、`service` 服务、`virtual` 虚拟",
    ),
    "image": ("the picture's address; null: none", "图片地址，没有则为 null"),
    "products": ("what is for sale", "在售商品"),
    "logged_in": ("whether the caller has a session", "调用者是否已登录"),
    "ShopView.collect": ("null: no amount can be typed", "null 表示不能输入金额"),
    "scenes": ("where it can be used", "可用的场景"),
    "min_fen": ("least amount, in fen", "最少，单位分"),
    "max_fen": ("largest amount, in fen", "最多，单位分"),
    "NewOrder.items": ("what is ordered", "要买的商品"),
    "items": ("what was ordered", "买了什么"),
    "quantity": ("how many", "数量"),
    "order_no": ("the order's number", "订单号"),
    "OrderView.state": _ORDER_STATE,
    "total_fen": ("what is to be paid, in fen", "应付金额，单位分"),
    "paid_fen": (
        "what the buyer paid after coupons, in fen; null until paid",
        "买家用券后实付，单位分；未付为 null",
    ),
    "refunded_fen": ("what was given back, in fen", "已退金额，单位分"),
    "refunding_fen": ("what is on its way back, in fen", "退款中的金额，单位分"),
    "created_at": ("when it was made", "创建时间"),
    "expires_at": ("until when it can be paid", "付款截止时间"),
    "paid_at": ("when it was paid; null until then", "付款时间，未付为 null"),
    "payments": ("every attempt to pay", "每一次支付"),
    "refunds": ("every return of money", "每一笔退款"),
    "orders": ("the orders of this page", "本页订单"),
    "next": ("goes into `after`; null: the end", "填进 `after` 取下一页，null 表示没有了"),
    "scene": ("[where the buyer pays](#pay)", "[支付场景](#pay)"),
    "NewPayment.channel": (
        "only to choose among several ways to be paid; leave it out",
        "有多个收款渠道时才用来指定，一般不传",
    ),
    "channel": ("the way it was paid", "收款渠道"),
    "PaymentView.state": _PAYMENT_STATE,
    "AdminPayment.state": _PAYMENT_STATE,
    "out_trade_no": ("the payment's number at WeChat", "商户订单号（微信侧的支付单号）"),
    "NewRefund.out_trade_no": (
        "which payment, when the order has several",
        "订单有几笔支付时，退哪一笔",
    ),
    "transaction_id": ("WeChat's number; null until paid", "微信支付订单号，未付为 null"),
    "invoke": (
        "hand it unchanged to `wx.requestPayment`, `WeixinJSBridge` or the App SDK",
        "原样交给 `wx.requestPayment`、`WeixinJSBridge` 或 App SDK",
    ),
    "h5_url": ("open it in the phone's browser; five minutes", "在手机浏览器里打开，五分钟有效"),
    "code_url": ("show it as a QR code; two hours", "显示成二维码，两小时有效"),
    "app_url": ("opens the app that scans `code_url`", "打开能扫 `code_url` 的应用"),
    "amount_yuan": ("yuan as text, such as `12.34`", "以元为单位的文本，如 `12.34`"),
    "widget": (
        "false when your own field was used instead of the widget",
        "没用金额控件、用了自己的输入框时传 false",
    ),
    "Token.token": ("from the launch query of the mini program", "小程序启动参数里的 token"),
    "HandedOver.token": ("works once, within ten minutes", "十分钟内有效，只能用一次"),
    "path": ("opens the mini program with it", "用它打开小程序"),
    "refund_fen": ("how much, in fen", "退款金额，单位分"),
    "NewRefund.reason": ("the buyer reads it", "退款原因，买家看得到"),
    "Reason.reason": ("kept in the history", "记入历史"),
    "AdminRefund.reason": ("what the buyer reads", "买家看到的原因"),
    "RefundView.state": _REFUND_STATE,
    "AdminRefund.state": _REFUND_STATE,
    "out_refund_no": ("the refund's number at WeChat", "商户退款单号"),
    "refund_id": ("WeChat's number of the refund", "微信支付退款单号"),
    "refunded_at": ("when it arrived; null until then", "到账时间，未到账为 null"),
    "origin": (
        "`admin`, `surplus` (came twice or too late), `merchant_platform` (made there)",
        "来源：`admin` 运营发起、`surplus` 付重或付晚自动退、`merchant_platform` 在商户平台发起",
    ),
    "trouble": ("why it still waits; empty: nothing", "为什么还在等，空表示没有问题"),
    "Failure.code": ("branch on it: [all codes](#errors)", "程序按它判断，见[错误码](#errors)"),
    "message": ("for developers, may change", "给开发者看的说明，可能会变"),
    "request_id": ("finds the line in the log", "用它查日志"),
    "field": ("which part of the request", "请求里的哪个字段"),
    "login": ("which login brings the openid", "该走哪个登录拿 openid"),
    "wechat_code": ("WeChat's own code", "微信的错误码"),
    "wechat_request_id": (
        "WeChat's Request-ID, for its support",
        "微信的 Request-ID，可发给微信客服",
    ),
    "differences": ("the differences of this page", "本页差异"),
    "date": ("the bill's day", "账单日期"),
    "DifferenceView.kind": (
        "`missing_here`, `missing_there`, `amount`, `state`, `refund_…`",
        "`missing_here` 本地缺、`missing_there` 微信缺、`amount`、`state`、`refund_…`",
    ),
    "number": ("the payment's or refund's number", "支付或退款单号"),
    "here": ("what the books say", "账本上的"),
    "there": ("what the bill says", "账单上的"),
    "found_at": ("when it was found", "发现时间"),
    "notifications": ("the notifications of this page", "本页通知"),
    "id": ("goes into the address of a replay", "重放时填进地址"),
    "AdminNotification.kind": ("what it is about", "通知的类型"),
    "key": ("what makes it unique", "去重用的键"),
    "AdminNotification.outcome": _OUTCOME,
    "OutcomeView.outcome": _OUTCOME,
    "reason": ("why, where it was not applied", "没有记账时的原因"),
    "received_at": ("when it came", "收到时间"),
}

#: parameters in path, query and headers: `call.name`, or `name`
PARAMETERS: Mapping[str, Sentence] = {
    "Idempotency-Key": (
        "a random text of your own: [the same again is done once](#idempotency)",
        "自己生成的随机串，[重复的请求只算一次](#idempotency)",
    ),
    "order_no": FIELDS["order_no"],
    "out_trade_no": FIELDS["out_trade_no"],
    "replay_notification.number": (
        "`id` of the notification",
        "通知的 `id`",
    ),
    "after": ("`next` of the page before", "上一页的 `next`"),
    "refresh": ("`1`: ask WeChat first", "`1`：先问微信"),
    "return_to": ("where to go on: a path of this shop", "登录后去哪里：本商城的路径"),
    "oauth_callback.code": ("from WeChat", "微信给的"),
    "oauth_callback.state": ("belongs to the browser that began", "和发起登录的浏览器绑定"),
    "all_orders.state": _ORDER_STATE,
    "all_payments.state": _PAYMENT_STATE,
    "all_refunds.state": _REFUND_STATE,
    "outcome": _OUTCOME,
    "date": ("a day like `2026-01-31`", "日期，如 `2026-01-31`"),
    "verify_domain.token": ("as WeChat's console names it", "微信后台给的文件名"),
}

#: the page's own words
UI: Mapping[str, Sentence] = {
    "title": ("API", "接口文档"),
    "other": ("中文", "English"),
    "contents": ("Contents", "目录"),
    "guide": ("Guide", "指南"),
    "calls": ("Calls", "接口"),
    "errors": ("Errors", "错误码"),
    "shapes": ("Shapes", "数据结构"),
    "every_shape": ("Every shape with its fields", "每个结构的全部字段"),
    "all": ("Open all", "全部展开"),
    "who": ("Who may call:", "谁可以调用："),
    "anyone": ("anyone", "任何人"),
    "buyer": ("a buyer who is logged in", "已登录的买家"),
    "admin": ("the operator, with the admin token", "运营方，带管理令牌"),
    "by_wechat": ("WeChat alone", "只有微信"),
    "parameters": ("Parameters", "参数"),
    "body": ("Body", "请求体"),
    "answer": ("Answer", "应答"),
    "request": ("Example request", "请求示例"),
    "example": ("Example answer", "应答示例"),
    "can_fail": ("Errors of this call", "这个接口的错误"),
    "general": (
        "Any call can also answer `INTERNAL`, `OUTCOME_UNKNOWN`, `METHOD_NOT_ALLOWED`,"
        " `BODY_TOO_LARGE` and `UNSUPPORTED_MEDIA_TYPE`.",
        "任何接口还可能返回 `INTERNAL`、`OUTCOME_UNKNOWN`、`METHOD_NOT_ALLOWED`、`BODY_TOO_LARGE`、"
        "`UNSUPPORTED_MEDIA_TYPE`。",
    ),
    "empty": ("no body", "没有内容"),
    "text": ("text", "文本"),
    "required": ("required", "必填"),
    "optional": ("optional", "可选"),
    "null": ("or null", "可为 null"),
    "integer": ("integer", "整数"),
    "string": ("text", "文本"),
    "boolean": ("true or false", "true 或 false"),
    "object": ("object", "对象"),
    "date-time": ("time", "时间"),
    "date": ("day", "日期"),
    "list": ("list of {}", "{} 列表"),
    "characters": ("{} characters", "{} 个字符"),
    "elements": ("{} elements", "{} 项"),
    "not_blank": ("not blank", "不能全是空白"),
    "cause": ("Cause", "原因"),
    "remedy": ("What to do", "怎么办"),
    "try": ("Try it", "试一试"),
    "send": ("Send", "发送"),
    "key": ("New key", "换一个"),
    "buyer_token": ("Buyer's token", "买家 token"),
    "admin_token": ("Admin token", "管理令牌"),
    "new_buyer": ("Log in as a new buyer", "以新买家登录"),
    "pay": ("Pay it in the sandbox", "在沙箱里付款"),
    "sandbox": (
        "This shop runs at the sandbox: each call has a “Try it”, no real money moves.",
        "本商城连着沙箱：每个接口都可以“试一试”，不会动真钱。",
    ),
    "waiting": ("Waiting …", "等待应答……"),
    "lost": ("No answer: is the server running?", "没有应答：服务还在运行吗？"),
    "sample": ("as recorded from the sandbox", "录自沙箱"),
}
