"""WeChat's protocols 微信支付 APIv3 与登录. Copy this folder into any project; see README.md."""
